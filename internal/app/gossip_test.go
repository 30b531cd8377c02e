package app_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"healer/api"
	"healer/config"
	"healer/internal/app"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

// A second agent of one node ends and says who holds the name; the first one goes
// on and shows the second. No server is needed for that.
func TestSecondAgentOfANode(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Cluster, cfg.Gossip.Keys = "test", keyFile(t)
	for i := range 3 {
		cfg.Nodes = append(cfg.Nodes, lonely(t, fmt.Sprintf("n%d", i+1)))
	}
	for _, n := range cfg.Nodes {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		dir := t.TempDir()
		go func() {
			done <- app.Run(ctx, app.Options{Config: &cfg, Node: n.Name, DataDir: dir, Log: slog.New(slog.DiscardHandler)})
		}()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("agent of %s: %v", n.Name, err)
			}
		})
	}
	awaitStatus(t, cfg.Nodes[0].API, "the agents know each other", func(s api.Status) bool {
		if !s.Gossip.Encrypted || len(s.Nodes) != 3 {
			return false
		}
		return s.Nodes[0].AgentAlive && s.Nodes[1].AgentAlive && s.Nodes[2].AgentAlive
	})

	other := cfg
	other.Nodes = append([]config.Node{lonely(t, "n1")}, cfg.Nodes[1:]...)
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	err := app.Run(ctx, app.Options{Config: &other, Node: "n1", DataDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	var f *topology.Fault
	if !errors.As(err, &f) || f.Code != "name_in_use" || !strings.Contains(err.Error(), cfg.Nodes[0].Gossip) {
		t.Fatalf("the second agent of n1 ended with %v", err)
	}
	awaitStatus(t, cfg.Nodes[0].API, "the first shows the second", func(s api.Status) bool {
		return s.Gossip.SecondAgent != nil && s.Gossip.SecondAgent.Addr == other.Nodes[0].Gossip
	})
}

// lonely is a node whose server is not there.
func lonely(t *testing.T, name string) config.Node {
	return config.Node{
		Name: name, DSN: "host=127.0.0.1 port=" + strings.Split(pgtest.Addr(t), ":")[1] + " dbname=app user=healer",
		Gossip: pgtest.Addr(t), API: pgtest.Addr(t), NATS: config.NodeNATS{Client: pgtest.Addr(t), Cluster: pgtest.Addr(t)},
	}
}

// awaitStatus waits until the status of the agent at addr is as it should be.
func awaitStatus(t *testing.T, addr, what string, ok func(api.Status) bool) {
	t.Helper()
	var last any
	for begin := time.Now(); time.Since(begin) < waitLimit; {
		s, err := api.FetchStatus(t.Context(), http.DefaultClient, addr)
		if err == nil && ok(s) {
			return
		}
		last = fmt.Sprintf("%+v %v", s, err)
		select {
		case <-t.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("not within %s: %s; last %v", waitLimit, what, last)
}
