package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"healer/api"
	"healer/internal/localpg"
)

// What the laggard's definition lacks stops the recovery by name; once the operator
// has added it, the agents finish by themselves.
func TestRecoveryGoesOnOnceMended(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ breaks, says, mends string }{
		"column": {`ALTER TABLE account DROP COLUMN note`, `public.account: has no column "note"`, `ALTER TABLE account ADD COLUMN note text`},
		"table":  {`DROP TABLE entry`, `public.entry: is not here`, `CREATE TABLE entry (region text, no bigint, body jsonb, PRIMARY KEY (region, no))`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, localpg.Options{}, nil)
			c.startAll()
			c.lag(50)
			c.exec("n3", tc.breaks)
			if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
				t.Fatal(err)
			}
			c.eventually("the recovery stops and says why", func() error {
				last := c.last("n2", "n3")
				if last.State != api.RecoveryFailed || !strings.Contains(last.Error, tc.says) || last.Hint == "" {
					return fmt.Errorf("last recovery %+v", last)
				}
				return nil
			})
			c.exec("n3", tc.mends)
			c.eventually("the recovery is finished", func() error {
				if last := c.last("n2", "n3"); last.State != api.RecoveryVerified {
					return fmt.Errorf("last recovery %+v", last)
				}
				return nil
			})
			c.equal("n2", "n3")
			if got := value[int64](c, "n3", `SELECT count(*) FROM entry`); got != 50 {
				t.Errorf("the laggard has %d of 50 entries", got)
			}
		})
	}
}

// last is the recovery that ended last, going by any of the agents.
func (c *cluster) last(agents ...string) (last api.Recovery) {
	for _, a := range agents {
		s, err := c.status(a)
		if err == nil && s.Last != nil && s.Last.Started.After(last.Started) {
			last = *s.Last
		}
	}
	return last
}
