package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"healer/api"
	"healer/internal/localpg"
)

// A laggard that lacks a column stops the recovery by name; once the operator has
// added it, the agents finish by themselves.
func TestRecoveryGoesOnOnceMended(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	c.lag(50)
	c.exec("n3", `ALTER TABLE account DROP COLUMN note`)
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.eventually("the recovery stops at the missing column", func() error {
		s, err := c.status("n2")
		if err != nil {
			return err
		}
		o, err := c.status("n3")
		if err != nil {
			return err
		}
		for _, last := range []*api.Recovery{s.Last, o.Last} {
			if last != nil && last.State == api.RecoveryFailed {
				if !strings.Contains(last.Error, "public.account") || !strings.Contains(last.Error, `"note"`) || last.Hint == "" {
					return fmt.Errorf("it failed by %q, hint %q", last.Error, last.Hint)
				}
				return nil
			}
		}
		return fmt.Errorf("last %+v, %+v", s.Last, o.Last)
	})
	c.exec("n3", `ALTER TABLE account ADD COLUMN note text`)
	agent := "n2"
	c.eventually("somebody finishes", func() error {
		for _, agent = range []string{"n2", "n3"} {
			if s, err := c.status(agent); err == nil && s.Last != nil && s.Last.State == api.RecoveryVerified {
				return nil
			}
		}
		return fmt.Errorf("nobody has")
	})
	c.recovered(agent, "n1", "n2", "n3")
	c.equal("n2", "n3")
}
