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

// Two of five nodes are lost at once, and each had told one survivor more than
// the others: there is a plan for each, one at a time, and both come back.
func TestTwoNodesLostAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Nodes: 5}, nil)
	c.startAll()
	ctx := context.Background()
	for _, lost := range []string{"n1", "n2"} {
		c.mesh.Link(lost, "n5").Cut()
	}
	c.mesh.Link("n2", "n4").Cut()
	for i := range 30 {
		c.exec("n1", `INSERT INTO entry VALUES ('n1', $1, '{}')`, i)
		c.exec("n2", `INSERT INTO entry VALUES ('n2', $1, '{}')`, i)
	}
	c.caughtUp("n1", "n2", "n3")
	c.eventually("n4 has what n1 sent", func() error {
		if got := value[int64](c, "n4", `SELECT count(*) FROM entry WHERE region = 'n1'`); got != 30 {
			return fmt.Errorf("%d of 30", got)
		}
		return nil
	})
	for _, lost := range []string{"n1", "n2"} {
		if err := c.mesh.Kill(ctx, lost); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually("both are healed", func() error {
		for _, n := range []string{"n3", "n4", "n5"} {
			if got := value[int64](c, n, `SELECT count(*) FROM entry`); got != 60 {
				return fmt.Errorf("%s has %d of 60 entries", n, got)
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
	c.equal("n1", "n2", "n3", "n4", "n5")
}
