package native

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

const (
	pollEvery  = 20 * time.Millisecond
	pubAll     = "healer"
	pubInserts = "healer_inserts"
)

var shared pgtest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// sharedMesh is for tests that leave it as they found it. Its subscriptions go
// through proxies, so that no DSN tells their providers.
func sharedMesh(t *testing.T) *localpg.Mesh {
	t.Helper()
	return shared.Mesh(t, "app", localpg.Options{Links: true, Schema: []string{
		"CREATE TABLE kv (k bigint PRIMARY KEY, v text)",
	}})
}

// ownMesh is for tests that break it.
func ownMesh(t *testing.T, links bool) *localpg.Mesh {
	t.Helper()
	return pgtest.Mesh(t, localpg.Options{Links: links, Schema: []string{
		"CREATE TABLE kv (k bigint PRIMARY KEY, v text)",
	}})
}

func engineOf(t *testing.T, mesh *localpg.Mesh, remembered map[string]string) *engine.Engine {
	t.Helper()
	dsns := make(map[string]string)
	for _, n := range mesh.Nodes() {
		dsns[n.Name()] = n.DSN()
	}
	return engineFor(t, dsns, remembered)
}

func engineFor(t *testing.T, dsns, remembered map[string]string) *engine.Engine {
	t.Helper()
	servers := make(map[string]*postgres.Server)
	for name, dsn := range dsns {
		s, err := postgres.Open(name, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers[name] = s
	}
	e := New(engine.Options{Cluster: "test", Servers: servers, Providers: remembered, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(e.Close)
	return e
}

// within awaits a condition; the limit is for a hang, not a measure.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		if err := postgres.Pause(ctx, pollEvery); err != nil {
			t.Fatalf("never: %s", what)
		}
	}
}

func exec(t *testing.T, s *localpg.Server, sql string, args ...any) {
	t.Helper()
	if _, err := s.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %s: %v", s.Name(), sql, err)
	}
}

func value[T any](t *testing.T, s *localpg.Server, sql string, args ...any) T {
	t.Helper()
	v, err := localpg.Value[T](t.Context(), s, sql, args...)
	if err != nil {
		t.Fatalf("%s: %s: %v", s.Name(), sql, err)
	}
	return v
}

// observed reads a node that must be reachable.
func observed(t *testing.T, e *engine.Engine, node string) topology.NodeState {
	t.Helper()
	n := e.Observe(t.Context(), node)
	if !n.Reachable {
		t.Fatalf("%s is not reachable: %s", node, n.Problem)
	}
	return n
}

// subscribed is a node's subscription to the provider, once it is known.
func subscribed(t *testing.T, e *engine.Engine, node, provider string) topology.Subscription {
	t.Helper()
	var sub topology.Subscription
	within(t, fmt.Sprintf("%s is known to read from %s", node, provider), func() (ok bool) {
		sub, ok = observed(t, e, node).From(provider)
		return ok
	})
	return sub
}

func wantFault(t *testing.T, err error, class topology.Class, code string) {
	t.Helper()
	var f *topology.Fault
	if !errors.As(err, &f) || f.Class != class || f.Code != code {
		t.Errorf("got %v, want a %v fault %s", err, class, code)
	}
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serverOf is a handle of the test's own.
func serverOf(t *testing.T, mesh *localpg.Mesh, node string) *postgres.Server {
	t.Helper()
	s, err := postgres.Open(node, mesh.Node(node).DSN())
	try(t, err)
	t.Cleanup(s.Close)
	return s
}
