package app_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"healer/api"
	"healer/config"
	"healer/internal/localpg"
	"healer/topology"
)

// With recovery.fallback: rows the agents carry a gap that no slot has any more as
// rows, by themselves, say so, and take the lost node back as after any recovery.
func TestRowsInPlaceOfTransactions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.cfg.Recovery.Fallback = config.CarryRows
	c.startAll()
	c.lag(50)
	ctx := context.Background()
	slot := topology.RecoverySlotName("app", "n2", "n3")
	c.eventually("the recovery slot is gone", func() error { // the keeper may hold it just then
		return c.mesh.Exec(ctx, "n2", `SELECT pg_drop_replication_slot($1)`, slot)
	})
	if err := c.mesh.Kill(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	last := c.recovered("n2", "n1", "n2", "n3")
	c.equal("n2", "n3")
	runs, err := api.FetchRecoveries(ctx, http.DefaultClient, c.api("n2"), last.ID)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, r := range runs.Runs {
		for _, s := range r.Steps {
			if s.Kind == "rows" && s.State == "done" {
				said = s.Evidence
			}
		}
	}
	if !strings.HasPrefix(said, "ROWS, NOT TRANSACTIONS, from n2 to n3") {
		t.Errorf("the report has %q", said)
	}

	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(ctx); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.exec("n1", `INSERT INTO entry VALUES ('n1', 99999, '{}')`)
	c.caughtUp()
	c.equal("n1", "n2", "n3")
}
