package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"healer/api"
	"healer/config"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

// How far a node has written its log the others know from its agent, when they cannot
// read its server.
func TestEndOfTheLogIsHeard(t *testing.T) {
	t.Parallel()
	var door *localpg.Proxy
	c := newCluster(t, localpg.Options{Nodes: 2}, func(s *localpg.Server) string {
		if s.Name() != "n1" {
			return s.DSN()
		}
		door = pgtest.Proxy(t, s.Addr())
		return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=app", door.Port())
	})
	own := *c.cfg // n1's own agent needs no door
	own.Nodes = slices.Clone(own.Nodes)
	own.Nodes[0].DSN = c.mesh.Node("n1").DSN()
	c.cfgs = map[string]*config.Config{"n1": &own}
	c.startAll()
	door.Refuse()
	c.eventually("n2 cannot read n1", func() error {
		if n, err := c.sees("n2", "n1"); err != nil || n.Reachable {
			return fmt.Errorf("it can: %+v, %w", n, err)
		}
		return nil
	})
	c.exec("n1", `INSERT INTO account VALUES (1, 'n1', 1)`)
	c.heardOf("n1", c.flushed("n1"), "n2")
	if n, err := c.sees("n2", "n1"); err != nil || n.Reachable {
		t.Errorf("n2 could read n1 itself: %+v, %v", n, err)
	}
}

// flushed is how far a node has flushed its log.
func (c *cluster) flushed(node string) topology.LSN {
	c.t.Helper()
	at, err := topology.ParseLSN(value[string](c, node, `SELECT pg_current_wal_flush_lsn()::text`))
	if err != nil {
		c.t.Fatal(err)
	}
	return at
}

// heardOf waits until the agents know that the node has written its log up to there.
func (c *cluster) heardOf(node string, at topology.LSN, agents ...string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("all know that %s has written up to %s", node, at), func() error {
		for _, agent := range agents {
			n, err := c.sees(agent, node)
			if err != nil {
				return err
			}
			if n.LogEnd == nil || n.LogEnd.Flushed < at || n.LogEnd.Identity != identity(c, node) {
				return fmt.Errorf("%s knows of %+v", agent, n.LogEnd)
			}
		}
		return nil
	})
}

// identity is that of a node's server as it is now.
func identity(c *cluster, node string) topology.Identity {
	return topology.Identity{
		SystemID:  value[uint64](c, node, `SELECT system_identifier FROM pg_control_system()`),
		Timeline:  value[uint32](c, node, `SELECT timeline_id FROM pg_control_checkpoint()`),
		StartedAt: value[int64](c, node, `SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint`),
	}
}

// onlyThere compares what the agents say that nobody but a lost node has: the
// recovery, its record, a plan and the status, with at least so much.
func (c *cluster) onlyThere(node string, last api.Recovery, least topology.LSN, agents ...string) {
	c.t.Helper()
	enough := func(u topology.Unsent) error {
		if u.UnsentBytes == nil || *u.UnsentBytes < int64(least) || u.UnsentAsOf.IsZero() { //nolint:gosec // a distance
			return fmt.Errorf("%s: want at least %d bytes", u.UnsentText(node), least)
		}
		return nil
	}
	if err := enough(last.Unsent); err != nil {
		c.t.Errorf("the recovery says %v", err)
	}
	var plan topology.Unsent // made by hand, with what the agents know
	if code, said := c.command("recovery", "plan", "--failed", node, "-o", "json"); code != 0 || json.Unmarshal([]byte(said), &plan) != nil || enough(plan) != nil {
		c.t.Errorf("a plan made by hand ends with %d and says\n%s", code, said)
	}
	for _, agent := range agents {
		c.eventually(agent+" says what is only on "+node, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
			defer cancel()
			runs, err := api.FetchRecoveries(ctx, http.DefaultClient, c.api(agent), last.ID)
			if err != nil || len(runs.Runs) == 0 {
				return fmt.Errorf("no run of %s is known: %w", last.ID, err)
			}
			if err := enough(runs.Runs[len(runs.Runs)-1].Unsent); err != nil {
				return fmt.Errorf("the record says %w", err)
			}
			n, err := c.sees(agent, node)
			if err != nil {
				return err
			}
			if err := enough(n.Unsent); err != nil {
				return fmt.Errorf("the status says %w", err)
			}
			if got, ok := c.metric(agent, `healer_lost_unsent_bytes{node="`+node+`"}`); !ok || got < float64(least) {
				return fmt.Errorf("the metric says %v", got)
			}
			return nil
		})
	}
}

// nothingOnlyThere wants no agent to speak of the node as one that has what others
// have not.
func (c *cluster) nothingOnlyThere(node string, agents ...string) {
	c.t.Helper()
	for _, agent := range agents {
		n, err := c.sees(agent, node)
		if err != nil || n.Unsent != (topology.Unsent{}) {
			c.t.Errorf("%s still says: %s, %v", agent, n.UnsentText(node), err)
		}
		if got, ok := c.metric(agent, `healer_lost_unsent_bytes{node="`+node+`"}`); ok {
			c.t.Errorf("%s still measures %v", agent, got)
		}
	}
}

// metric is one series of an agent's.
func (c *cluster) metric(agent, series string) (float64, bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.api(agent)+"/metrics", http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			return v, err == nil
		}
	}
	return 0, false
}
