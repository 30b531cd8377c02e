package app_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/api"
	"healer/config"
	"healer/internal/localpg"
	"healer/topology"
)

// clash lets n3 write to a row that the gap, which it lacks, has written before.
// It returns the two writes' times.
func (c *cluster) clash() (gap, later time.Time) {
	c.t.Helper()
	c.lag(20)
	const stamp = `SELECT pg_xact_commit_timestamp(xmin) FROM account WHERE id = 2`
	gap = value[time.Time](c, "n2", stamp)
	c.exec("n3", `UPDATE account SET note = 'n3' WHERE id = 2`)
	later = value[time.Time](c, "n3", stamp)
	c.caughtUp("n2", "n3")
	return gap.UTC(), later.UTC()
}

// runs collects what all agents remember of a recovery.
func (c *cluster) runs(id string) []api.Run {
	c.t.Helper()
	var all []api.Run
	for _, n := range c.cfg.Nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		got, err := api.FetchRecoveries(ctx, http.DefaultClient, n.API, id)
		if err != nil || got.Problem != "" {
			c.t.Fatalf("%s: %v %s", n.Name, err, got.Problem)
		}
		all = append(all, got.Runs...)
	}
	return all
}

// A conflict is resolved as the file says, and every agent can tell what became of
// it: the one that ran the recovery in full, the others in short.
func TestConflictIsReported(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.cfg.Recovery.Conflicts = config.KeepLocal
	c.startAll()
	gap, later := c.clash()
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	last := c.recovered("n2", "n1", "n2", "n3")
	c.equal("n2", "n3")
	if got := value[string](c, "n2", `SELECT note FROM account WHERE id = 2`); got != "n3" {
		t.Errorf("row 2 has %q, want what n3 wrote", got)
	}
	counts := []topology.ConflictCount{{Table: "public.account", Kind: "update_newer", Action: topology.ActionKept, Count: 1}}
	for _, n := range c.mesh.Names() {
		c.eventually(n+" counts the conflict", func() error {
			s, err := c.status(n)
			if err != nil || s.Last == nil || s.Last.ID != last.ID {
				return fmt.Errorf("%w: last recovery %+v", err, s.Last)
			}
			if diff := cmp.Diff(counts, s.Last.ConflictCounts); diff != "" || s.Last.Conflicts != 1 {
				return fmt.Errorf("%d conflicts (-want +got):\n%s", s.Last.Conflicts, diff)
			}
			return nil
		})
	}
	want := []topology.RowConflict{{
		Kind: "update_newer", Table: "public.account", Key: map[string]string{"id": "2"}, Node: "n3",
		Remote: topology.RowWrite{Node: "n1", At: gap}, Local: &topology.RowWrite{Node: "n3", At: later}, Action: topology.ActionKept,
	}}
	// Every agent can answer for it, whoever ran it.
	c.eventually("every agent tells of the run", func() error {
		for i, r := range c.runs(last.ID) {
			if r.State != api.RecoveryVerified || len(r.Steps) == 0 || len(r.Listed) == 0 {
				return fmt.Errorf("answer %d: %+v", i, r)
			}
		}
		if got := len(c.runs(last.ID)); got != 3 {
			return fmt.Errorf("%d answers", got)
		}
		return nil
	})
	for _, r := range c.runs(last.ID) {
		want[0].LSN = r.Listed[0].LSN
		if diff := cmp.Diff(want, r.Listed); diff != "" {
			t.Errorf("run %s of %s lists (-want +got):\n%s", r.Run, r.Agent, diff)
		}
		if want[0].LSN == 0 || want[0].LSN > r.Watermark {
			t.Errorf("the transaction is %s, the watermark %s", want[0].LSN, r.Watermark)
		}
		if r.State != api.RecoveryVerified || len(r.Steps) == 0 || len(r.Survivors) != 2 {
			t.Errorf("run: %+v", r)
		}
	}
}

// With the policy to stop a recovery fails before the conflict, says what it met, and
// goes on when the operator has chosen another policy.
func TestConflictStopsTheRecovery(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.cfg.Recovery.Conflicts = config.StopAtConflict
	c.startAll()
	c.clash()
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.eventually("the recovery stops", func() error {
		s, err := c.status("n2")
		if err != nil || s.Last == nil || s.Last.State != api.RecoveryFailed {
			return fmt.Errorf("%w: last recovery %+v, current %+v", err, s.Last, s.Current)
		}
		if !strings.Contains(s.Last.Error, "update_newer: row (id=2), written by n1 at ") || s.Last.Hint == "" {
			return fmt.Errorf("last recovery %+v", s.Last)
		}
		if len(s.Last.ConflictCounts) != 1 || s.Last.ConflictCounts[0].Action != topology.ActionStopped {
			return fmt.Errorf("conflicts %+v", s.Last.ConflictCounts)
		}
		return nil
	})
	if got := value[string](c, "n3", `SELECT note FROM account WHERE id = 2`); got != "n3" {
		t.Errorf("row 2 has %q, want what n3 wrote", got)
	}
	if got := value[int64](c, "n3", `SELECT count(*) FROM entry`); got != 1 {
		t.Errorf("%d transactions are on n3: the second has the conflict", got)
	}
	for _, n := range c.mesh.Names() {
		if err := c.stop(n); err != nil {
			t.Fatal(err)
		}
	}
	c.cfg.Recovery.Conflicts = config.LastUpdateWins
	for _, n := range c.mesh.Names() {
		c.start(n)
	}
	c.recovered("n2", "n1", "n2", "n3")
	c.equal("n2", "n3")
	if got := value[int64](c, "n3", `SELECT count(*) FROM entry`); got != 20 {
		t.Errorf("n3 has %d of 20 transactions", got)
	}
}
