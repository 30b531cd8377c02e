package app_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"healer/api"
	"healer/config"
	"healer/events"
	"healer/internal/localpg"
)

// lag makes n3 fall behind n1 while n2 follows it: the situation in which the
// loss of n1 leaves the survivors different.
func (c *cluster) lag(transactions int) {
	c.t.Helper()
	c.exec("n1", `INSERT INTO account SELECT i, 'n1', i FROM generate_series(1, 1000) i`)
	if err := c.mesh.WaitCaughtUp(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	c.mesh.Link("n1", "n3").Cut()
	c.gap(transactions)
	c.caughtUp("n1", "n2")
}

// gap writes transactions of every kind on n1.
func (c *cluster) gap(transactions int) {
	c.t.Helper()
	ctx := context.Background()
	conn, err := c.mesh.Node("n1").Connect(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close(ctx)
	for i := range transactions {
		tx, err := conn.Begin(ctx)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, sql := range []string{
			fmt.Sprintf(`INSERT INTO entry VALUES ('n1', %d, '{"i": %d}')`, i, i),
			fmt.Sprintf(`INSERT INTO account VALUES (%d, 'n1', %d, NULL)`, 10_000+i, i),
			fmt.Sprintf(`UPDATE account SET amount = amount - 1, note = 'u%d' WHERE id = %d`, i, i%1000+1),
			fmt.Sprintf(`DELETE FROM account WHERE id = %d AND %d %% 7 = 0`, (i*13)%1000+1, i),
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				c.t.Fatal(err)
			}
		}
		if err := tx.Commit(ctx); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) caughtUp(names ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	if err := c.mesh.WaitCaughtUp(ctx, names...); err != nil {
		c.t.Fatal(err)
	}
}

// recovered waits until the survivors hold the same of the lost node, nothing of
// the recovery is left but the fences, and an agent reports it.
func (c *cluster) recovered(agent, lost string, survivors ...string) api.Recovery {
	c.t.Helper()
	var last api.Recovery
	c.eventually("the survivors are healed", func() error {
		s, err := c.status(agent)
		if err != nil {
			return err
		}
		if s.Last == nil || s.Last.Node != lost || s.Last.Kind != "recovery" || s.Current != nil {
			return fmt.Errorf("last recovery %+v, current %+v, refusals %+v, reasons %v", s.Last, s.Current, s.Refusals, s.Reasons)
		}
		last = *s.Last
		if last.State != api.RecoveryVerified {
			return fmt.Errorf("recovery %+v", last)
		}
		return nil
	})
	for _, n := range survivors {
		if a, b := c.progress(n, lost), c.progress(survivors[0], lost); a != b {
			c.t.Errorf("progress of %s is %s on %s, %s on %s", lost, a, n, b, survivors[0])
		}
	}
	c.eventually("nothing but the fences is left", func() error {
		for _, n := range survivors {
			if left := value[int64](c, n, `SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'healer%')
				+ (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%')
				+ (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')`); left != 0 {
				return fmt.Errorf("%d clones, gap marks or locks on %s", left, n)
			}
		}
		return nil
	})
	return last
}

func (c *cluster) equal(nodes ...string) {
	c.t.Helper()
	for _, n := range nodes[1:] {
		if c.rows(n) != c.rows(nodes[0]) {
			c.t.Errorf("rows of %s and %s differ", n, nodes[0])
		}
	}
}

// rejoined waits until no survivor is fenced off from the node and its life is
// up everywhere.
func (c *cluster) rejoined(node string) {
	c.t.Helper()
	c.eventually(node+" is taken back", func() error {
		for _, n := range c.cfg.Nodes {
			s, err := c.status(n.Name)
			if err != nil {
				return err
			}
			if s.State != api.Healthy {
				return fmt.Errorf("%s sees %s: %v %+v", n.Name, s.State, s.Reasons, s.Refusals)
			}
		}
		return nil
	})
	for _, n := range c.cfg.Nodes {
		if left := value[int64](c, n.Name, `SELECT (SELECT count(*) FROM pg_subscription WHERE NOT subenabled)
			+ (SELECT count(*) FROM pg_replication_origin WHERE roname ~ '^healer:(fence|gap)')`); left != 0 {
			c.t.Errorf("%d disabled subscriptions or marks are left on %s", left, n.Name)
		}
	}
}

// received counts the row changes that reached node from others.
func (c *cluster) received(node string) int64 {
	return value[int64](c, node, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM received`)
}

// A killed node heals itself: the main job, end to end.
func TestKilledNodeHealsItself(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	ran, token := t.TempDir(), filepath.Join(t.TempDir(), "nats.token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.cfg.NATS.TokenFile = token
	c.cfg.Hooks = []config.Hook{{
		On: "recovery.verified", Exec: []string{"/bin/sh", "-c", `cat > "$0/$HEALER_NODE.$HEALER_AGENT.$HEALER_TRY"`, ran}, Timeout: waitLimit,
	}}
	spans := collectTraces(t)
	c.spans = spans.Settings
	c.startAll()
	c.lag(500)
	// One transaction that nobody receives before the end: n1 alone has it.
	c.mesh.Link("n1", "n2").Cut()
	begin := c.flushed("n1")
	c.exec("n1", `INSERT INTO account VALUES (60001, 'n1', 1, 'unsent')`)
	unsent := c.flushed("n1") - begin
	c.heardOf("n1", begin+unsent, "n2", "n3")
	before := c.received("n2")
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	last := c.recovered("n3", "n1", "n2", "n3")
	if last.Source != "n2" || last.Transactions != 500 {
		t.Errorf("carried %d transactions from %s: want 500 from n2", last.Transactions, last.Source)
	}
	c.onlyThere("n1", last, unsent, "n2", "n3")
	c.equal("n2", "n3")
	c.eventually("the recovery is traced", func() error {
		if !spans.has(last.ID, `"verify n`) {
			return fmt.Errorf("no trace %s with a step of verification", events.TraceID(last.ID))
		}
		return nil
	})
	c.counted([]string{"n2", "n3"}, `healer_recoveries_total{kind="recovery",reason="",result="verified"} 1`,
		`healer_replayed_transactions_total 500`, `healer_node_failures_total{node="n1"} 1`,
		`healer_step_seconds_count{result="done",step="subscribe"} 1`)
	// Who hears of the loss from a majority has not suspected it before.
	c.counted(c.mesh.Names(), `healer_detection_seconds_count{node="n1"} 1`)
	c.eventually("one agent has run the hook", func() error {
		files, err := filepath.Glob(ran + "/n1.*.1")
		if err != nil || len(files) != 1 {
			return fmt.Errorf("%v, %w", files, err)
		}
		return nil
	})

	// What n3 was given must not travel on to n2, which has it. A write of
	// n3's own shows that the way is open and the counter counts.
	c.exec("n3", `INSERT INTO account VALUES (50002, 'n3', 1, 'counted')`)
	c.caughtUp("n2", "n3")
	if got := c.received("n2"); got != before+1 {
		t.Errorf("n2 received %d row changes since the loss: want the one of n3's own", got-before)
	}

	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.nothingOnlyThere("n1", "n2", "n3")
	c.exec("n1", `INSERT INTO account VALUES (50001, 'n1', 1, 'after')`)
	c.exec("n3", `INSERT INTO account VALUES (50003, 'n3', 1, 'after')`)
	c.caughtUp()
	c.equal("n1", "n2", "n3")
	for _, n := range c.mesh.Names() {
		if got := value[int64](c, n, `SELECT count(*) FROM account WHERE note = 'unsent'`); got != 1 {
			t.Errorf("%s has the unsent transaction %d times", n, got)
		}
	}
}

// A wrong verdict harms nothing: every agent is kept from n1, which lives and
// writes on all the while.
func TestFalseVerdictHarmsNothing(t *testing.T) {
	t.Parallel()
	c, door := newClusterWithDoor(t)
	c.startAll()
	stop := c.write("n1")
	door.Refuse()
	c.recovered("n2", "n1", "n2", "n3")
	for _, n := range []string{"n2", "n3"} {
		if got := value[bool](c, n, `SELECT subenabled FROM pg_subscription WHERE subname = $1`, localpg.SubscriptionName(n, "n1")); got {
			t.Errorf("%s was not fenced off from n1", n)
		}
	}
	if err := door.Heal(); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	written := stop()
	c.caughtUp()
	c.equal("n1", "n2", "n3")
	if got := value[int64](c, "n3", `SELECT count(*) FROM entry WHERE region = 'n1'`); got != written {
		t.Errorf("n3 has %d of %d transactions of n1", got, written)
	}
}

// A host that vanishes without a word is silent evidence, which must last; then
// its survivors are healed like those of a killed server.
func TestVanishedHostIsHealed(t *testing.T) {
	t.Parallel()
	c, door := newClusterWithDoor(t)
	c.startAll()
	c.lag(100)
	// To everybody else n1 is now a host that swallows every packet.
	c.mesh.Isolate("n1")
	door.Cut()
	last := c.recovered("n3", "n1", "n2", "n3")
	if last.Transactions != 100 {
		t.Errorf("carried %d transactions, want 100", last.Transactions)
	}
	c.equal("n2", "n3")
	if err := door.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.caughtUp()
	c.equal("n1", "n2", "n3")
}

// write commits transactions on a node until the returned function is called,
// which tells how many there were.
func (c *cluster) write(node string) (stop func() int64) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int64, 1)
	conn, err := c.mesh.Node(node).Connect(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer conn.Close(context.Background())
		var n int64
		for ctx.Err() == nil {
			if _, err := conn.Exec(context.Background(), `INSERT INTO entry VALUES ($1, $2, '{}')`, node, n); err != nil {
				c.t.Errorf("write on %s: %v", node, err)
				break
			}
			n++
			select { // a pace that leaves the machine to the others
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		done <- n
	}()
	return func() int64 {
		cancel()
		return <-done
	}
}

// The keeper never passes a gap while the link is cut, and moves on when it
// heals.
func TestKeeperHoldsTheGap(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	c.exec("n1", `INSERT INTO account SELECT i, 'n1', i FROM generate_series(1, 1000) i`)
	c.caughtUp()
	slot := func(to string) (at int64) {
		return value[int64](c, "n2", `SELECT (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $1`,
			"spock_app_recovery_n2_"+to)
	}
	now := func() int64 {
		return value[int64](c, "n2", `SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint`)
	}
	c.mesh.Link("n1", "n3").Cut()
	start := now()
	c.gap(50)
	c.caughtUp("n1", "n2")
	end := now()
	// That the slot for n1, which lacks nothing, passes the gap shows that the
	// keeper had its chances to take the other one along.
	c.eventually("the slot for n1 passes the gap", func() error {
		c.exec("n2", `SELECT pg_logical_emit_message(true, 'test', '')`)
		if at := slot("n3"); at > start {
			return fmt.Errorf("the slot for n3 is at %d, the gap begins behind %d", at, start)
		}
		if at := slot("n1"); at <= end {
			return fmt.Errorf("still at %d", at)
		}
		return nil
	})
	if at := slot("n3"); at > start {
		t.Fatalf("the slot for n3 has moved to %d, the gap begins behind %d", at, start)
	}
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	c.eventually("the slot for n3 moves on", func() error {
		if at := slot("n3"); at <= end {
			return fmt.Errorf("still at %d", at)
		}
		return nil
	})
}
