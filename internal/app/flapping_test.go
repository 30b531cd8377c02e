package app_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"healer/events"
	"healer/internal/localpg"
)

// A server that fails again and again is healed each time, and from the second time
// on taken back only when it has answered for the hold-down. Nobody recovers it for
// the failures that it is held down for.
func TestFlappingServerIsHeldDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.cfg.Detection.FlapAfter, c.cfg.Detection.HoldDown = 2, 3*time.Second
	c.startAll()
	seen := c.kinds("n2")
	n1 := c.mesh.Node("n1")
	fail := func(row int) (started time.Time) {
		c.exec("n1", `INSERT INTO account VALUES ($1, 'n1', 1, 'before')`, row)
		if err := n1.KillPostmaster(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.eventually("n1 is fenced off", func() error {
			for _, n := range []string{"n2", "n3"} {
				if value[int64](c, n, `SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:fence:%'`) == 0 {
					return fmt.Errorf("not on %s", n)
				}
			}
			return nil
		})
		started = time.Now()
		if err := n1.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		return started
	}

	fail(70001)
	c.rejoined("n1")
	if n, err := c.sees("n2", "n1"); err != nil || n.Flapping != nil {
		t.Errorf("after one failure: %+v, %v", n.Flapping, err)
	}
	started := fail(70002)
	c.eventually("n1 is held down", func() error {
		n, err := c.sees("n2", "n1")
		if err != nil || n.Flapping == nil || !n.Flapping.Held || n.Flapping.Failures != 2 {
			return fmt.Errorf("%+v, %w", n.Flapping, err)
		}
		return nil
	})
	c.eventually("node.flapping is told of", func() error {
		if n := seen()[events.NodeFlapping]; n != 1 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	c.eventually("n1 is taken back, and still remembered for it", func() error {
		for _, agent := range c.mesh.Names() {
			n, err := c.sees(agent, "n1")
			if err != nil || n.Life != "up" || n.Flapping == nil || n.Flapping.Held {
				return fmt.Errorf("%s sees %+v, %w", agent, n, err)
			}
		}
		return nil
	})
	if held := time.Since(started); held < c.cfg.Detection.HoldDown {
		t.Errorf("n1 is taken back after %s, before the hold-down of %s", held, c.cfg.Detection.HoldDown)
	}
	c.caughtUp()
	c.equal("n1", "n2", "n3")
	if got := seen(); got[events.NodeFailed] != 2 || got[events.NodeRejoined] != 2 {
		t.Errorf("%d failures, %d rejoins: %v", got[events.NodeFailed], got[events.NodeRejoined], got)
	}
}
