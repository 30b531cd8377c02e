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
		"column": {`ALTER TABLE account DROP COLUMN note`, `table public.account on n3 has no column note`, `ALTER TABLE account ADD COLUMN note text`},
		"table":  {`DROP TABLE entry`, `n3 has no table public.entry`, `CREATE TABLE entry (region text, no bigint, body jsonb, PRIMARY KEY (region, no))`},
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

// A transaction that the lost node prepared and that only the source holds, as a
// subscription with two_phase does, stops the recovery until it is decided.
func TestPreparedTransactionIsDecidedFirst(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Conf: map[string]string{"max_prepared_transactions": "2"}}, nil)
	c.startAll()
	c.lag(20)
	// What the apply worker leaves at a PREPARE.
	gid := "pg_gid_" + value[string](c, "n2", `SELECT oid::text FROM pg_subscription WHERE subname = $1`, localpg.SubscriptionName("n2", "n1")) + "_4711"
	c.exec("n2", `BEGIN; INSERT INTO entry VALUES ('n1', 90001, '{}'); PREPARE TRANSACTION '`+gid+`'`)
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.eventually("the recovery names the transaction", func() error {
		last := c.last("n2", "n3")
		if last.State != api.RecoveryFailed || !strings.Contains(last.Error, `"4711"`) || !strings.Contains(last.Hint, "on n2: COMMIT PREPARED '"+gid+"'") {
			return fmt.Errorf("last recovery %+v", last)
		}
		return nil
	})
	c.exec("n2", `COMMIT PREPARED '`+gid+`'`)
	c.eventually("the recovery is finished", func() error {
		if last := c.last("n2", "n3"); last.State != api.RecoveryVerified {
			return fmt.Errorf("last recovery %+v", last)
		}
		return nil
	})
	c.caughtUp("n2", "n3")
	c.equal("n2", "n3")
	if got := value[int64](c, "n3", `SELECT count(*) FROM entry`); got != 21 {
		t.Errorf("the laggard has %d of 21 entries", got)
	}
}
