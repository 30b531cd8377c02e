package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"healer/internal/localpg"
)

// A server whose postmaster is killed and started again at once goes through crash
// recovery. It has failed and it has returned; the recovery that its return runs
// into ends cleanly, and nothing is lost or doubled.
func TestRestartInTheMiddleOfTheRecovery(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	c.lag(1500)
	n1 := c.mesh.Node("n1")
	if err := n1.KillPostmaster(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.eventually("the recovery has begun", func() error {
		if fences := value[int64](c, "n3", `SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:fence:%'`); fences == 0 {
			return fmt.Errorf("n3 is not fenced off yet")
		}
		return nil
	})
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := n1.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.exec("n1", `INSERT INTO account VALUES (50001, 'n1', 1, 'after')`)
	c.caughtUp()
	c.equal("n1", "n2", "n3")
	for _, n := range c.mesh.Names() {
		if got := value[int64](c, n, `SELECT count(*) FROM entry`); got != 1500 {
			t.Errorf("%s has %d of 1500 entries", n, got)
		}
	}
	for _, agent := range c.mesh.Names() {
		log := c.said(agent)
		failed, returned := strings.Index(log, "node=n1 life=failed"), strings.Index(log, "node=n1 life=returning")
		if failed < 0 || returned < failed {
			t.Errorf("%s did not see n1 fail and return (%d, %d)", agent, failed, returned)
		}
		if strings.Contains(log, "node=n2 life=failed") || strings.Contains(log, "node=n3 life=failed") {
			t.Errorf("%s judged a survivor lost", agent)
		}
	}

	// And started again before anybody could do anything about it.
	if err := n1.KillPostmaster(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := n1.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.exec("n1", `INSERT INTO account VALUES (50002, 'n1', 1, 'again')`)
	c.eventually("the row reaches the others", func() error {
		for _, n := range c.mesh.Names() {
			if got := value[int64](c, n, `SELECT count(*) FROM account WHERE id = 50002`); got != 1 {
				return fmt.Errorf("%s has it %d times", n, got)
			}
		}
		return nil
	})
	c.rejoined("n1")
	c.equal("n1", "n2", "n3")
}
