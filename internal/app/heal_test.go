package app_test

import (
	"context"
	"fmt"
	"testing"

	"healer/api"
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
		if left := value[int64](c, n, `SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'healer%')
			+ (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%')
			+ (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')`); left != 0 {
			c.t.Errorf("%d clones, gap marks or locks are left on %s", left, n)
		}
	}
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

// A killed node heals itself: the main job, end to end.
func TestKilledNodeHealsItself(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	c.lag(500)
	before := c.progress("n3", "n1")
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	last := c.recovered("n3", "n1", "n2", "n3")
	if last.Source != "n2" || last.Transactions != 500 {
		t.Errorf("carried %d transactions from %s: want 500 from n2", last.Transactions, last.Source)
	}
	if after := c.progress("n3", "n1"); after == before {
		t.Errorf("progress of n3 is still %s", after)
	}
	c.equal("n2", "n3")

	// What n3 was given must not travel on: n2 has it.
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.exec("n1", `INSERT INTO account VALUES (50001, 'n1', 1, 'after')`)
	c.exec("n3", `INSERT INTO account VALUES (50003, 'n3', 1, 'after')`)
	c.caughtUp()
	c.equal("n1", "n2", "n3")
}
