package app_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"healer/api"
	"healer/config"
	"healer/internal/app"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

// lone is a file of three nodes with these DSNs, of which only the first has an
// agent.
func lone(t *testing.T, dsns ...string) *config.Config {
	t.Helper()
	cfg := config.Defaults()
	cfg.Cluster = "test"
	for i, dsn := range dsns {
		cfg.Nodes = append(cfg.Nodes, config.Node{
			Name: fmt.Sprintf("n%d", i+1), DSN: dsn, Gossip: pgtest.Addr(t), API: pgtest.Addr(t),
			NATS: config.NodeNATS{Client: pgtest.Addr(t), Cluster: pgtest.Addr(t)},
		})
	}
	return &cfg
}

// A server that lacks a prerequisite is a named state, and is left as it is.
func TestUnfitServersAreNamedAndUntouched(t *testing.T) {
	t.Parallel()
	low := pgtest.Server(t, localpg.ServerOptions{Conf: map[string]string{"wal_level": "replica", "track_commit_timestamp": "off"}})
	locked := pgtest.Server(t, localpg.ServerOptions{Scram: true})
	poor := pgtest.Server(t, localpg.ServerOptions{})
	ctx := context.Background()
	for s, sql := range map[*localpg.Server]string{
		poor: `CREATE ROLE poor LOGIN`, locked: `CREATE ROLE healer SUPERUSER LOGIN PASSWORD 'right'`,
	} {
		if _, err := s.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	wrong := fmt.Sprintf("host=127.0.0.1 port=%d user=healer password=guess dbname=postgres", locked.Port())
	cfg := lone(t,
		low.DSN(), wrong,
		fmt.Sprintf("host=127.0.0.1 port=%d user=poor dbname=postgres", poor.Port()),
		"host="+host(t, pgtest.Addr(t))+" user=postgres dbname=app",
	)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	var log lockedBuffer
	go func() {
		done <- app.Run(ctx, app.Options{
			Config: cfg, Node: "n1", DataDir: t.TempDir(), Version: "test", Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
		if strings.Contains(log.String(), "guess") {
			t.Error("the log shows a password")
		}
		if t.Failed() {
			t.Log(log.String())
		}
	}()

	want := map[string][]string{
		"n1": {"wal_level", "track_commit_timestamp"},
		"n2": {"password authentication failed"},
		"n3": {"grant"},
		"n4": {"connection refused"},
	}
	deadline := time.Now().Add(waitLimit)
	for missing := []string{"everything"}; len(missing) > 0; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the status never names %v", missing)
		}
		s, err := api.FetchStatus(ctx, http.DefaultClient, cfg.Nodes[0].API)
		if err != nil {
			continue
		}
		missing = nil
		for _, n := range s.Nodes {
			text := n.Problem
			for _, f := range n.Findings {
				text += " " + f.Code + " " + f.Detail
				if f.Remedy == "" {
					t.Errorf("%s: finding %s has no remedy", n.Name, f.Code)
				}
			}
			for _, w := range want[n.Name] {
				if !strings.Contains(text, w) {
					missing = append(missing, n.Name+": "+w)
				}
			}
			if n.Ready {
				missing = append(missing, n.Name+": not ready")
			}
		}
		if s.State == api.Healthy {
			missing = append(missing, "a state that is not healthy")
		}
	}
	for name, s := range map[string]*localpg.Server{"n1": low, "n3": poor} {
		left, err := localpg.Value[int64](ctx, s,
			`SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_replication_origin) + (SELECT count(*) FROM pg_publication)`)
		if err != nil || left != 0 {
			t.Errorf("%s: %d slots, origins and publications were made (%v)", name, left, err)
		}
	}
}

func host(t *testing.T, addr string) string {
	t.Helper()
	h, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return h + " port=" + port
}

// What keeps an agent from starting is said with its code and remedy, and the
// agent that could not start leaves nothing behind.
func TestStartIsRefused(t *testing.T) {
	t.Parallel()
	dsn := "host=127.0.0.1 port=1 user=postgres dbname=app"
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	base := t.TempDir()
	for name, tc := range map[string]struct {
		change func(*config.Config, *app.Options)
		code   string
		text   string
	}{
		"an unknown node": {func(_ *config.Config, o *app.Options) { o.Node = "n9" }, "node_unknown", "n9"},
		"the API's port is taken": {func(c *config.Config, _ *app.Options) {
			c.Nodes[0].API = busy.Addr().String()
		}, "", busy.Addr().String()},
		"the gossip port is taken": {func(c *config.Config, _ *app.Options) {
			c.Nodes[0].Gossip = busy.Addr().String()
		}, "", busy.Addr().String()},
		"the NATS port is taken": {func(c *config.Config, _ *app.Options) {
			c.Nodes[0].NATS.Client = busy.Addr().String()
		}, "", busy.Addr().String()},
		"another cluster's data directory": {func(c *config.Config, o *app.Options) {
			c.Cluster, o.DataDir = "other", filepath.Join(base, "used")
		}, "data_dir_foreign", "belongs to node n1 of cluster test"},
		"another node's data directory": {func(_ *config.Config, o *app.Options) {
			o.Node, o.DataDir = "n2", filepath.Join(base, "used")
		}, "data_dir_foreign", "belongs to node n1 of cluster test"},
		"a data directory that is a file": {func(_ *config.Config, o *app.Options) {
			o.DataDir = filepath.Join(base, "used", "agent.json")
		}, "data_dir", "agent.json"},
	} {
		run := func(change func(*config.Config, *app.Options)) error {
			cfg := lone(t, dsn, dsn, dsn)
			o := app.Options{
				Config: cfg, Node: "n1", DataDir: filepath.Join(base, "used"), Version: "test", Log: slog.New(slog.DiscardHandler),
			}
			change(cfg, &o)
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			return app.Run(ctx, o)
		}
		// The directory gets its owner from an agent that does start.
		first, stop := context.WithCancel(context.Background())
		stop()
		cfg := lone(t, dsn, dsn, dsn)
		if err := app.Run(first, app.Options{
			Config: cfg, Node: "n1", DataDir: filepath.Join(base, "used"), Version: "test", Log: slog.New(slog.DiscardHandler),
		}); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("an agent that is stopped at once ended with %v", err)
		}
		err := run(tc.change)
		var f *topology.Fault
		switch {
		case !errors.As(err, &f):
			t.Errorf("%s: %v: want a fault", name, err)
		case tc.code != "" && f.Code != tc.code, f.Hint == "", !strings.Contains(err.Error(), tc.text):
			t.Errorf("%s: %s, %v: want code %q, a hint, and %q in it", name, f.Code, err, tc.code, tc.text)
		}
	}
}
