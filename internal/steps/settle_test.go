package steps

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"healer/planner"
	"healer/postgres/engine"
	"healer/topology"
)

// stuck is an engine whose barrier never passes while a node is among the pairs.
type stuck struct {
	Engine
	on string
	// waits is called when it is stuck.
	waits  func()
	passed []engine.Pair
	// changed counts what a release did.
	changed int
}

func (e *stuck) Barrier(ctx context.Context, pairs []engine.Pair) error {
	if slices.ContainsFunc(pairs, func(p engine.Pair) bool { return p.From == e.on || p.To == e.on }) {
		e.waits()
		<-ctx.Done()
		return ctx.Err()
	}
	e.passed = pairs
	return nil
}

func (e *stuck) Observe(_ context.Context, node string) topology.NodeState {
	return topology.NodeState{Name: node, Reachable: true, Slots: []topology.Slot{{Name: "clone", Kind: topology.SlotClone, To: "n3"}}}
}

func (e *stuck) DropSlot(context.Context, string, string) error { e.changed++; return nil }

func (e *stuck) UnmarkGap(context.Context, string, string, topology.LSN) error {
	e.changed++
	return nil
}

func (*stuck) Flush(context.Context, string) (topology.LSN, error) { return 7, nil }

// A survivor that is lost while the others wait for it is waited for no more.
func TestSettleGoesOnWithoutTheLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lost atomic.Pointer[[]string]
		lost.Store(&[]string{"n1"})
		e := &stuck{on: "n4", waits: func() { lost.Store(&[]string{"n1", "n4"}) }}
		r := New(Options{Engine: e, Trigger: func() planner.Trigger { return planner.Trigger{Lost: *lost.Load()} }})
		p := planner.Plan{Survivors: []string{"n2", "n3", "n4"}}
		at, err := r.settle(t.Context(), p, "n2")
		want := []engine.Pair{{From: "n2", To: "n3"}, {From: "n3", To: "n2"}}
		if err != nil || at != 7 || !slices.Equal(e.passed, want) {
			t.Errorf("at %v, %v; waited for %v, want %v", at, err, e.passed, want)
		}
		if err := r.complete(p); topology.ClassOf(err) != topology.Transient {
			t.Errorf("it may be compared with n4, which was not waited for: %v", err)
		}
		p = p.Without("n4")
		if err := r.complete(p); err != nil {
			t.Errorf("without n4: %v", err)
		}
		lost.Store(&[]string{"n1"})
		if err := r.complete(p); topology.ClassOf(err) != topology.Transient {
			t.Errorf("it may be compared although n4 lives: %v", err)
		}
		// n4 may live after all, compared or not: the gap stays marked, with its clone.
		p.Lanes = []planner.Lane{{Source: "n2", Target: "n3"}}
		_, err = r.applyRelease(t.Context(), p, planner.Step{Kind: planner.StepRelease, Node: "n2", Target: "n3"})
		if topology.ClassOf(err) != topology.Transient || e.changed != 0 {
			t.Errorf("released without n4: %v, %d changes", err, e.changed)
		}
	})
}

// A wait that somebody ends is not begun again.
func TestSettleEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := New(Options{Engine: &stuck{on: "n3", waits: cancel}, Trigger: func() planner.Trigger { return planner.Trigger{} }})
		if _, err := r.settle(ctx, planner.Plan{Survivors: []string{"n2", "n3"}}, "n2"); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	})
}
