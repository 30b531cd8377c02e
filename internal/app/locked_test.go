package app_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"healer/api"
	"healer/internal/localpg"
)

// A stranger leaves DDL open on the source when a node is lost, and another one a row on
// the laggard that the gap has as well. The survivors are fenced off, the recovery says
// which session it waits for, before it carries anything and while it does, and goes on by
// itself when that is gone.
func TestLockedTableOnTheSourceDelays(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	c.lag(20)
	c.behind("n2", "n1", map[string]bool{"n2": false, "n3": true})
	ctx := context.Background()
	stranger, err := c.mesh.Node("n2").Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close(ctx) }()
	if _, err := stranger.Exec(ctx, `BEGIN; ALTER TABLE entry ADD COLUMN more text`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	other, err := c.mesh.Node("n3").Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close(ctx) }()
	if _, err := other.Exec(ctx, `BEGIN; INSERT INTO account VALUES (10000, 'n3')`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Kill(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	named := func(on, table string, holder *pgx.Conn) {
		t.Helper()
		pid := fmt.Sprint(holder.PgConn().PID())
		c.eventually("every agent says whom the recovery waits for on "+on, func() error {
			for _, agent := range []string{"n1", "n2", "n3"} {
				s, err := c.status(agent)
				if err != nil {
					return err
				}
				if !slices.ContainsFunc(s.Refusals, func(r api.Refusal) bool {
					return r.Subject == "n1" && r.Reason == "table_locked" && r.Node == on && r.Wait &&
						strings.Contains(r.Why, table) && strings.Contains(r.Remedy, "pg_terminate_backend("+pid+")") &&
						(r.By == "n2") == (agent != "n2") // it is read by the one that acts
				}) {
					return fmt.Errorf("the agent of %s: current %+v, last %+v, refusals %+v", agent, s.Current, s.Last, s.Refusals)
				}
			}
			return nil
		})
	}
	named("n2", "public.entry", stranger)
	for _, n := range []string{"n2", "n3"} {
		if value[bool](c, n, `SELECT subenabled FROM pg_subscription WHERE subname = $1`, localpg.SubscriptionName(n, "n1")) {
			t.Errorf("%s is not fenced off from n1", n)
		}
	}
	if _, err := stranger.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	named("n3", "a row on n3", other)
	if _, err := other.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	c.recovered("n2", "n1", "n2", "n3")
	c.equal("n2", "n3")
	c.eventually("nobody shows it any more", func() error {
		for _, agent := range []string{"n1", "n2", "n3"} {
			s, err := c.status(agent)
			if err != nil {
				return err
			}
			if len(s.Refusals) > 0 {
				return fmt.Errorf("the agent of %s: refusals %+v", agent, s.Refusals)
			}
		}
		return nil
	})
}
