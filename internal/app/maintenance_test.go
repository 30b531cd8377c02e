package app_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"healer/api"
	"healer/internal/localpg"
	"healer/topology"
)

// Under maintenance a node may end without being lost: what one agent is told all
// hold, across restarts, until an operator ends it.
func TestMaintenanceSuspendsVerdicts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	c.startAll()
	c.lag(20)
	told := c.maintain("n2", api.MaintenanceRequest{Node: "n1", For: api.Duration(time.Hour), By: "ops", Reason: "new disk"})
	if told.Agent != "n2" || told.Entry.By != "ops" {
		t.Errorf("answer %+v", told)
	}
	c.eventually("all agents hold it", func() error { return c.everywhere(1) })
	if err := c.stop("n3"); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(c.dirs["n3"], "control.json")); err != nil || !strings.Contains(string(b), "new disk") {
		t.Errorf("a stopped agent has kept %q, %v", b, err)
	}
	c.start("n3")
	c.eventually("n3 is back and holds it", func() error { return c.everywhere(1) })

	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.eventually("every agent would judge n1 and does not", func() error {
		for _, agent := range c.mesh.Names() {
			n, err := c.sees(agent, "n1")
			if err != nil {
				return err
			}
			if n.Life != api.LifeSuspected || !strings.Contains(n.Reason, "no failure is concluded until") {
				return fmt.Errorf("%s: n1 is %s: %s", agent, n.Life, n.Reason)
			}
		}
		return nil
	})
	for _, n := range []string{"n2", "n3"} {
		if !value[bool](c, n, `SELECT subenabled FROM pg_subscription WHERE subname = $1`, localpg.SubscriptionName(n, "n1")) {
			t.Errorf("%s was fenced off", n)
		}
	}

	// Ended, from another agent than began it: n1 is lost as ever.
	c.maintain("n3", api.MaintenanceRequest{Node: "n1", End: true})
	if last := c.recovered("n3", "n1", "n2", "n3"); last.Transactions != 20 {
		t.Errorf("carried %d transactions, want 20", last.Transactions)
	}
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.equal("n1", "n2", "n3")

	_, err := api.PostMaintenance(t.Context(), http.DefaultClient, c.api("n1"), apiToken, api.MaintenanceRequest{Node: "n9", For: api.Duration(time.Hour)})
	var f *topology.Fault
	if !errors.As(err, &f) || f.Code != "node_unknown" {
		t.Errorf("error %v", err)
	}
}

// maintain tells an agent.
func (c *cluster) maintain(agent string, r api.MaintenanceRequest) api.Controlled {
	c.t.Helper()
	got, err := api.PostMaintenance(context.Background(), http.DefaultClient, c.api(agent), apiToken, r)
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// everywhere objects to an agent that does not hold so many words of operators.
func (c *cluster) everywhere(count int) error {
	for _, agent := range c.mesh.Names() {
		s, err := c.status(agent)
		if err != nil {
			return err
		}
		if len(s.Control) != count {
			return fmt.Errorf("%s holds %+v", agent, s.Control)
		}
	}
	return nil
}
