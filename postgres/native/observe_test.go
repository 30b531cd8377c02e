package native

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// A value that is compared for equality must be the same for all observers.
func TestStartTimeIsExact(t *testing.T) {
	mesh := sharedMesh(t)
	e := engineOf(t, mesh, nil)
	want := value[time.Time](t, mesh.Node("n1"), "SELECT pg_postmaster_start_time()").UnixMicro()
	if got := observed(t, e, "n1").Identity.StartedAt; got != want {
		t.Errorf("start time %d, want %d", got, want)
	}
}

func TestObserveNeverFails(t *testing.T) {
	server := pgtest.Server(t, localpg.ServerOptions{})
	ctx := t.Context()
	exec(t, server, "CREATE ROLE stranger LOGIN PASSWORD 'right'")
	e := engineFor(t, map[string]string{
		"up": server.DSN(), "nodb": server.DSNFor("nothing"),
		"denied": strings.Replace(server.DSN(), "user=", "user=no_such_role_", 1),
	}, nil)
	check := func(node, problem string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		n := e.Observe(ctx, node)
		if n.Reachable || n.Name != node || !strings.Contains(n.Problem, problem) {
			t.Errorf("%s: %+v, want problem %q", node, n, problem)
		}
		if strings.Contains(n.Problem, "right") {
			t.Errorf("a password in %q", n.Problem)
		}
	}
	if n := observed(t, e, "up"); n.Identity.SystemID == 0 {
		t.Error("no identity")
	}
	check("nodb", "3D000")
	check("denied", "28000")
	check("nowhere", "not configured")
	try(t, server.Freeze(ctx))
	check("up", "context deadline exceeded")
	server.Thaw()
	within(t, "thawed", func() bool { return e.Observe(ctx, "up").Reachable })
	try(t, server.Kill(ctx))
	check("up", "check that the server runs")
	try(t, server.Start(ctx))
	within(t, "restarted", func() bool { return e.Observe(ctx, "up").Reachable })
}

func TestObserveWrongPassword(t *testing.T) {
	mesh := shared.Mesh(t, "scram", localpg.Options{Nodes: 2, Scram: true})
	n1 := mesh.Node("n1")
	exec(t, n1, "DROP ROLE IF EXISTS u; CREATE ROLE u LOGIN PASSWORD 'right'")
	ep, err := postgres.ParseEndpoint(n1.DSN())
	try(t, err)
	e := engineFor(t, map[string]string{
		"n1": fmt.Sprintf("host=%s port=%d dbname=%s user=u password=hunter2", ep.Host, ep.Port, ep.Database),
	}, nil)
	if n := e.Observe(t.Context(), "n1"); n.Reachable || !strings.Contains(n.Problem, "28P01") || strings.Contains(n.Problem, "hunter2") {
		t.Errorf("%+v", n)
	}
}

// One observation takes two statements on a connection that is there already.
func TestObserveIsCheap(t *testing.T) {
	mesh := sharedMesh(t)
	e := engineOf(t, mesh, nil)
	observed(t, e, "n1")
	s := serverOf(t, mesh, "n1")
	backends := func() (n int) {
		try(t, s.JSON(t.Context(), &n, "SELECT to_jsonb(count(*)) FROM pg_stat_activity WHERE application_name = 'healer'"))
		return n
	}
	before := backends()
	start := time.Now()
	const times = 50
	for range times {
		observed(t, e, "n1")
	}
	t.Logf("%v for one observation", time.Since(start)/times)
	if after := backends(); after > before {
		t.Errorf("%d connections, before %d", after, before)
	}
}

func TestObserveStandby(t *testing.T) {
	server := pgtest.Server(t, localpg.ServerOptions{})
	ctx := t.Context()
	e := engineFor(t, map[string]string{"n1": server.DSN()}, nil)
	observed(t, e, "n1")
	try(t, server.Stop(ctx, localpg.Fast))
	signal := filepath.Join(server.DataDir(), "standby.signal")
	try(t, os.WriteFile(signal, nil, 0o600))
	info, err := os.Stat(server.DataDir())
	try(t, err)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		try(t, os.Chown(signal, int(stat.Uid), int(stat.Gid)))
	}
	try(t, server.Start(ctx))
	n := observed(t, e, "n1")
	if f, ok := n.Blocked(); !n.InRecovery || !ok || f.Code != "in_recovery" || n.Identity.Timeline != 1 || n.Flushed == 0 {
		t.Errorf("%+v", n)
	}
}

func TestEngineLeavesNothingBehind(t *testing.T) {
	mesh := sharedMesh(t)
	before := goleak.IgnoreCurrent()
	servers := make(map[string]*postgres.Server)
	for _, n := range mesh.Nodes() {
		s, err := postgres.Open(n.Name(), n.DSN())
		try(t, err)
		servers[n.Name()] = s
	}
	e := New(engine.Options{Servers: servers, Log: slog.New(slog.DiscardHandler)})
	e.ObserveAll(t.Context())
	e.Close()
	e.Observe(t.Context(), "n1") // too late, and harmless
	for _, s := range servers {
		s.Close()
	}
	goleak.VerifyNone(t, before)
}

func TestObserveTimelineHistory(t *testing.T) {
	server := pgtest.Server(t, localpg.ServerOptions{})
	e := engineFor(t, map[string]string{"n1": server.DSN()}, nil)
	before := observed(t, e, "n1")
	try(t, server.ForkTimeline(t.Context()))
	var n topology.NodeState
	within(t, "the new timeline is written", func() bool {
		n = e.Observe(t.Context(), "n1")
		return n.Reachable && !n.InRecovery && n.Identity.Timeline == 2
	})
	if n.Identity.SystemID != before.Identity.SystemID || n.Identity.StartedAt == before.Identity.StartedAt {
		t.Errorf("identity %+v, before %+v", n.Identity, before.Identity)
	}
	if len(n.Forks) != 1 || n.Forks[0].Timeline != 1 || n.Forks[0].SwitchLSN < before.Flushed {
		t.Errorf("forks %+v: want one, of timeline 1, behind %v", n.Forks, before.Flushed)
	}
	if again := observed(t, e, "n1"); !cmp.Equal(again.Forks, n.Forks) {
		t.Errorf("again: %+v", again.Forks)
	}
}

// Nodes are read side by side while one of them, which a survivor has fenced off already,
// goes on writing and another one goes on applying that: what has been applied of it is
// never beyond the end of its log.
func TestLogOfAFencedNodeEndsBehindWhatIsAppliedOfIt(t *testing.T) {
	mesh := ownMesh(t, false)
	e := engineOf(t, mesh, nil)
	_, err := e.Fence(t.Context(), "n3", subscribed(t, e, "n3", "n1"), lostID)
	try(t, err)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() {
		defer close(written)
		for ctx.Err() == nil {
			_, _ = mesh.Node("n1").Exec(ctx, `INSERT INTO kv SELECT coalesce(max(k), 0) + 1 FROM kv`)
		}
	}()
	defer func() { stop(); <-written }()
	within(t, "n2 applies what n1 writes", func() bool { return value[int](t, mesh.Node("n2"), `SELECT count(*)::int FROM kv`) > 10 })
	for range 40 {
		o := e.ObserveAll(ctx)
		n1, _ := o.Node("n1")
		n2, _ := o.Node("n2")
		sub, ok := n2.From("n1")
		if !ok || !n1.Reachable || sub.Progress > n1.Flushed {
			t.Fatalf("n2 has applied n1 up to %s, whose log ends at %s (%s)", sub.Progress, n1.Flushed, n1.Problem)
		}
	}
}
