package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"healer/api"
	"healer/config"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// Two nodes and a witness: when a node is lost with its agent, the other and the
// witness are the majority. The sole survivor has nothing to carry; it is fenced
// off, and takes the node back that returns.
func TestTwoNodesAndAWitness(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Nodes: 2}, nil)
	c.cfg.Witnesses = []config.Witness{{
		Name: "w1", Gossip: pgtest.Addr(t), API: pgtest.Addr(t), NATS: config.NodeNATS{Client: pgtest.Addr(t), Cluster: pgtest.Addr(t)},
	}}
	c.dirs["w1"] = t.TempDir()
	c.start("w1")
	c.startAll()
	c.exec("n1", `INSERT INTO account SELECT i, 'n1', i FROM generate_series(1, 100) i`)
	c.exec("n2", `INSERT INTO account SELECT i, 'n2', i FROM generate_series(101, 200) i`)
	c.caughtUp()

	// The agent goes first, in order; its server outlives it and is watched on.
	if err := c.stop("n2"); err != nil {
		t.Fatal(err)
	}
	c.eventually("n2 is unwatched", func() error {
		for _, agent := range []string{"n1", "w1"} {
			if n, err := c.sees(agent, "n2"); err != nil || !n.Unwatched || n.Life != api.LifeUp {
				return fmt.Errorf("%s sees %+v, %w", agent, n, err)
			}
		}
		return nil
	})
	if err := c.mesh.Kill(context.Background(), "n2"); err != nil {
		t.Fatal(err)
	}
	c.eventually("n1 is fenced off from n2", func() error {
		for _, agent := range []string{"n1", "w1"} {
			if n, err := c.sees(agent, "n2"); err != nil || n.Life != api.LifeFailed {
				return fmt.Errorf("%s sees %s: %s, %w", agent, n.Life, n.Reason, err)
			}
		}
		marks := value[int64](c, "n1", `SELECT count(*) FROM pg_subscription WHERE NOT subenabled
			AND EXISTS (SELECT FROM pg_replication_origin WHERE roname LIKE 'healer:fence:%')`)
		if marks != 1 {
			return fmt.Errorf("%d fenced subscriptions", marks)
		}
		return nil
	})
	if strings.Contains(c.said("w1"), "level=ERROR") {
		t.Errorf("the witness: %s", c.said("w1"))
	}
	c.exec("n1", `INSERT INTO account SELECT i, 'n1', i FROM generate_series(201, 300) i`)

	if err := c.mesh.Node("n2").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.versions = map[string]string{"n2": "newer"}
	c.start("n2")
	c.rejoined("n2")
	c.eventually("all know that n2 runs another version", func() error {
		for _, agent := range []string{"n1", "n2", "w1"} {
			s, err := c.status(agent)
			if got := s.MixedVersions(); err != nil || got != "the agents run several versions: n2 newer; n1, w1 test" {
				return fmt.Errorf("%s: %q, %w", agent, got, err)
			}
		}
		return nil
	})
	c.exec("n2", `INSERT INTO account VALUES (301, 'n2', 1)`)
	c.caughtUp()
	c.equal("n1", "n2")
	if got := value[int64](c, "n2", `SELECT count(*) FROM account`); got != 301 {
		t.Errorf("%d rows, want 301", got)
	}
}

// Two nodes alone are advised and not healed, and told why.
func TestTwoNodesAloneAreAdvised(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Nodes: 2}, nil)
	c.startAll()
	c.exec("n2", `INSERT INTO account VALUES (1, 'n2', 1)`)
	c.caughtUp()
	if err := c.mesh.Kill(context.Background(), "n2"); err != nil {
		t.Fatal(err)
	}
	c.eventually("the plan is shown, and why it is not run", func() error {
		s, err := c.status("n1")
		if err != nil {
			return err
		}
		if len(s.Refusals) != 1 || s.Refusals[0].Reason != "mode_advise" || !strings.Contains(s.Refusals[0].Why, "without a witness") ||
			!strings.Contains(s.Refusals[0].Remedy, "witness") || s.Advice == "" {
			return fmt.Errorf("advice %q, refusals %+v, reasons %v", s.Advice, s.Refusals, s.Reasons)
		}
		return nil
	})
	if !value[bool](c, "n1", `SELECT bool_and(subenabled) FROM pg_subscription`) {
		t.Error("n1 was fenced off")
	}
	if err := c.mesh.Node("n2").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n2")
}
