package app_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"healer/api"
	"healer/internal/localpg"
)

// refusedFor waits until all agents show that something about the node is refused for
// that reason, with a remedy, whichever of them acts.
func (c *cluster) refusedFor(node, reason string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("%s is refused: %s", node, reason), func() error {
		for _, n := range c.cfg.Nodes {
			s, err := c.status(n.Name)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(s.Refusals, func(r api.Refusal) bool {
				return r.Subject == node && r.Reason == reason && r.Why != "" && r.Remedy != ""
			}) {
				return fmt.Errorf("the agent of %s shows %+v", n.Name, s.Refusals)
			}
		}
		return nil
	})
}

// A returned node whose slot for a survivor is gone stays fenced off; making the
// slot again, which is what an operator may try, does not open the way: all that
// the survivor had not received would be skipped in silence.
func TestSlotMadeAgainIsFoundOut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	c.lag(20)
	c.mesh.Link("n1", "n2").Cut()
	c.exec("n1", `INSERT INTO account VALUES (60001, 'n1', 1, 'unsent')`)
	ctx := context.Background()
	if err := c.mesh.Kill(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	c.recovered("n3", "n1", "n2", "n3")
	slot := localpg.SubscriptionName("n2", "n1")
	if err := os.RemoveAll(filepath.Join(c.mesh.Node("n1").DataDir(), "pg_replslot", slot)); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(ctx); err != nil {
		t.Fatal(err)
	}
	c.refusedFor("n1", "rejoin_slot_missing")
	c.exec("n1", `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, slot)
	c.refusedFor("n1", "slot_recreated")
	for _, n := range []string{"n2", "n3"} {
		if value[bool](c, n, `SELECT subenabled FROM pg_subscription WHERE subname = $1`, localpg.SubscriptionName(n, "n1")) {
			t.Errorf("%s reads from n1 again", n)
		}
	}
}

// Two of five nodes are lost at once, and each had told some survivors more than
// others: there is a plan for each, one at a time, and both come back. What the one had
// done to rows of the other a survivor had received while it lacked them, and skipped,
// and nobody else had: no log has that any more, and the rows are compared with the node
// that did it when it is back.
func TestTwoNodesLostAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Nodes: 5}, nil)
	c.startAll()
	ctx := context.Background()
	for from, to := range map[string]string{"n1": "n5", "n2": "n4"} {
		c.mesh.Link(from, to).Cut()
	}
	c.exec("n1", `INSERT INTO account SELECT i, 'n1', 1 FROM generate_series(1, 4) i`)
	for i := range 30 {
		c.exec("n1", `INSERT INTO entry VALUES ('n1', $1, '{}')`, i)
		c.exec("n2", `INSERT INTO entry VALUES ('n2', $1, '{}')`, i)
	}
	c.caughtUp("n1", "n2", "n3")
	has := func(node, author string, want int64) {
		c.t.Helper()
		c.eventually(node+" has what "+author+" sent", func() error {
			if got := value[int64](c, node, `SELECT count(*) FROM entry WHERE region = $1`, author); got != want {
				return fmt.Errorf("%d of %d", got, want)
			}
			return nil
		})
	}
	has("n4", "n1", 30)
	c.mesh.Link("n2", "n3").Cut()
	c.exec("n2", `DELETE FROM account WHERE id = 1`)
	c.exec("n2", `WITH gone AS (DELETE FROM account WHERE id = 2) INSERT INTO entry VALUES ('n2', 30, '{}')`)
	c.exec("n2", `UPDATE account SET note = 'n2' WHERE id = 3`)
	c.exec("n2", `INSERT INTO entry VALUES ('n2', 31, '{}')`)
	has("n5", "n2", 32)
	for _, lost := range []string{"n1", "n2"} {
		if err := c.mesh.Kill(ctx, lost); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually("both are healed", func() error {
		for _, n := range []string{"n3", "n4", "n5"} {
			if got := value[int64](c, n, `SELECT count(*) FROM entry`); got != 62 {
				return fmt.Errorf("%s has %d of 62 entries", n, got)
			}
			if left := value[int64](c, n, `SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'healer%')
				+ (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%')`); left != 0 {
				return fmt.Errorf("%d clones and gap marks on %s", left, n)
			}
		}
		s, err := c.status("n3")
		switch {
		case err != nil:
			return err
		case s.Current != nil || s.Last == nil || s.Last.State != api.RecoveryVerified:
			return fmt.Errorf("current %+v, last %+v, refusals %+v", s.Current, s.Last, s.Refusals)
		}
		return nil
	})
	c.equal("n3", "n4", "n5")
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{"n1", "n2"} {
		if err := c.mesh.Node(lost).Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	c.rejoined("n1")
	c.caughtUp()
	for _, n := range c.mesh.Names() {
		if left := value[int64](c, n, `SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:owed:%'`); left != 0 {
			t.Errorf("all is well, and %d comparisons are owed by %s", left, n)
		}
	}
	c.equal("n1", "n2", "n3", "n4", "n5")
	if got := value[string](c, "n5", `SELECT string_agg(id || coalesce(note, ''), ' ' ORDER BY id) FROM account`); got != "3n2 4" {
		t.Errorf("the accounts are %s: n2 had deleted the first two and changed the third", got)
	}
}
