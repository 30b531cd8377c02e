package steps

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/planner"
	"healer/postgres"
	"healer/topology"
)

// A rejoin for which a recovery comes first must make way for it at once: waiting
// for it would be waiting for oneself.
func TestRejoinMakesWay(t *testing.T) {
	t.Parallel()
	for wait, want := range map[bool]topology.Class{true: topology.Conflict, false: topology.Permanent} {
		err := notNow(&planner.Refusal{Reason: planner.RecoveryUnfinished, Node: "n1", Wait: wait})
		if got := topology.ClassOf(err); got != want {
			t.Errorf("wait %t: class %v, want %v", wait, got, want)
		}
	}
}

// marking is the part of an engine that says which gaps are marked.
type marking struct {
	Engine
	marks map[string]topology.GapMark
}

func (m marking) Observe(_ context.Context, node string) topology.NodeState {
	n := topology.NodeState{Name: node, Reachable: true}
	if g, ok := m.marks[node]; ok {
		n.Gaps = []topology.GapMark{g}
	}
	return n
}

// A recovery that another agent is at, or has left open, keeps a rejoin from opening any
// fence; and none begins while a rejoin opens them.
func TestRejoinAndRecoveryExcludeEachOther(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	servers := map[string]Server{}
	for _, n := range []string{"n2", "n3"} {
		server := pgtest.Server(t, localpg.ServerOptions{})
		s, err := postgres.Open(n, server.DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers[n] = s
	}
	// lock is what a recovery does first; release gives it back.
	lock := func(node string) (release func(), taken bool) {
		t.Helper()
		conn, err := servers[node].Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := conn.Exec(ctx, fmt.Sprintf("SELECT pg_try_advisory_lock(%d)", topology.RecoveryLock("n1"))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = unlock(ctx, conn) }, string(got[0].Rows[0][0]) == "t"
	}
	code := func(err error) string {
		t.Helper()
		f, ok := errors.AsType[*topology.Fault](err)
		if !ok || f.Class != topology.Conflict {
			t.Fatalf("%v: want a conflict", err)
		}
		return f.Code
	}
	// Only n2 is fenced off; n3 reads from n1 again, as another's source may.
	p := planner.Plan{Node: "n1", Survivors: []string{"n2"}, Readers: []string{"n2", "n3"}}
	e := marking{marks: map[string]topology.GapMark{}}
	r := New(Options{Engine: e, Servers: servers, Wrap: func(_ string, err error) error { return err }})

	release, taken := lock("n3")
	if !taken {
		t.Fatal("nobody else has the lock")
	}
	if got := code(r.hold(ctx, p)); got != "lock_held" {
		t.Errorf("while a recovery runs: %s", got)
	}
	release()
	e.marks["n3"] = topology.GapMark{Origin: "n1"}
	if got := code(r.hold(ctx, p)); got != string(planner.RecoveryUnfinished) {
		t.Errorf("with a gap marked: %s", got)
	}
	delete(e.marks, "n3")
	if err := r.hold(ctx, p); err != nil {
		t.Fatal(err)
	}
	if err := r.hold(ctx, p); err != nil {
		t.Errorf("once more: %v", err)
	}
	for _, n := range p.Readers {
		release, taken := lock(n)
		if taken {
			t.Errorf("a recovery begins on %s", n)
		}
		release()
	}
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if release, taken = lock("n2"); !taken {
		t.Error("the rejoin is over")
	}
	release()
}
