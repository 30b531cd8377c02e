package enginetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"healer/internal/localpg"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// rig is a mesh with two engines over it, as two agents have them.
type rig struct {
	*testing.T
	Case
	mesh     *localpg.Mesh
	e, other *engine.Engine
}

func (c Case) rig(t *testing.T, mesh *localpg.Mesh) rig {
	t.Helper()
	r := rig{T: t, Case: c, mesh: mesh}
	r.e, r.other = r.engine(), r.engine()
	return r
}

func (r rig) engine() *engine.Engine {
	r.Helper()
	servers := make(map[string]*postgres.Server)
	for _, n := range r.mesh.Nodes() {
		s, err := postgres.Open(n.Name(), n.DSN())
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(s.Close)
		servers[n.Name()] = s
	}
	e := r.New(engine.Options{Cluster: "test", Servers: servers, Log: slog.New(slog.DiscardHandler)})
	r.Cleanup(e.Close)
	return e
}

// run runs one test; a later one may need what it leaves.
func (r rig) run(name string, test func(rig)) {
	ok := r.T.Run(name, func(t *testing.T) {
		r := r
		r.T = t
		test(r)
	})
	if !ok {
		r.FailNow()
	}
}

func (r rig) try(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r rig) exec(node, sql string, args ...any) {
	r.Helper()
	if _, err := r.mesh.Node(node).Exec(r.Context(), sql, args...); err != nil {
		r.Fatalf("%s: %s: %v", node, sql, err)
	}
}

func value[T any](r rig, node, sql string, args ...any) T {
	r.Helper()
	v, err := localpg.Value[T](r.Context(), r.mesh.Node(node), sql, args...)
	if err != nil {
		r.Fatalf("%s: %s: %v", node, sql, err)
	}
	return v
}

// within awaits a condition; the limit is for a hang, not a measure.
func (r rig) within(what string, ok func() bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	for !ok() {
		if err := postgres.Pause(ctx, 20*time.Millisecond); err != nil {
			r.Fatalf("never: %s", what)
		}
	}
}

// observed reads a node that must be reachable.
func (r rig) observed(node string) topology.NodeState {
	r.Helper()
	n := r.e.Observe(r.Context(), node)
	if !n.Reachable {
		r.Fatalf("%s is not reachable: %s", node, n.Problem)
	}
	return n
}

// subscribed is a node's subscription to the provider, once it is known.
func (r rig) subscribed(node, provider string) topology.Subscription {
	r.Helper()
	var sub topology.Subscription
	r.within(fmt.Sprintf("%s is known to read from %s", node, provider), func() (ok bool) {
		sub, ok = r.observed(node).From(provider)
		return ok
	})
	return sub
}

func (r rig) wantFault(err error, class topology.Class, code string) {
	r.Helper()
	var f *topology.Fault
	if !errors.As(err, &f) || f.Class != class || f.Code != code {
		r.Errorf("got %v, want a %v fault %s", err, class, code)
	}
}

func (r rig) caughtUp() {
	r.Helper()
	r.try(r.mesh.WaitCaughtUp(r.Context()))
}

// back starts a node again, waits until the engine reads it, and has the others connect.
func (r rig) back(node string) {
	r.Helper()
	r.try(r.mesh.Node(node).Start(r.Context()))
	r.within(node+" is back", func() bool { return r.e.Observe(r.Context(), node).Reachable })
	for _, peer := range r.mesh.Nodes() {
		if peer.Name() == node || !peer.Running() || r.Nudge == nil {
			continue
		}
		if sub, _ := r.observed(peer.Name()).From(node); sub.Enabled {
			r.exec(peer.Name(), r.Nudge(sub.Name))
		}
	}
}

// streaming waits until all streams run, and has those connect that do not.
func (r rig) streaming() {
	r.Helper()
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(r.Context(), 15*time.Second)
		err := r.mesh.WaitStreaming(ctx)
		cancel()
		if err == nil {
			return
		}
		if try == 5 || r.Nudge == nil {
			r.Fatal(err)
		}
		for _, n := range r.mesh.Nodes() {
			for _, sub := range r.observed(n.Name()).Subscriptions {
				if sub.Enabled {
					r.exec(n.Name(), r.Nudge(sub.Name))
				}
			}
		}
	}
}

const (
	recSlot   = "spock_app_recovery_n1_n2"
	seedSlot  = "spock_app_recovery_n1_n2_seed"
	cloneSlot = "healer_app_clone_n1_n2_n3_c"
)

// slot is one of n1.
func (r rig) slot(name string) (topology.Slot, bool) {
	r.Helper()
	slots, err := r.e.Slots(r.Context(), "n1")
	r.try(err)
	for _, s := range slots {
		if s.Name == name {
			return s, true
		}
	}
	return topology.Slot{}, false
}
