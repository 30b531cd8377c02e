package executor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"healer/events"
	"healer/executor"
	"healer/planner"
	"healer/topology"
)

// replan is one answer of a Replanner; n is the number of the call, from 1.
type replan func(n int, p planner.Plan) (planner.Plan, *planner.Refusal, error)

// counted is a Replanner that gives each answer the number of its call.
type counted struct {
	calls  atomic.Int64
	answer replan
}

func (c *counted) Replan(_ context.Context, p planner.Plan) (planner.Plan, *planner.Refusal, error) {
	return c.answer(int(c.calls.Add(1)), p)
}

func observing(answer replan) func(*executor.Config) {
	return func(c *executor.Config) { c.Replanner = &counted{answer: answer} }
}

func afresh(m *mesh, p planner.Plan) (planner.Plan, *planner.Refusal, error) {
	return m.Replan(context.Background(), p)
}

func TestRefusedBehindTheFences(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10)
		b := newBench(t, m, &bus{}, "n1", observing(func(int, planner.Plan) (planner.Plan, *planner.Refusal, error) {
			return planner.Plan{}, &planner.Refusal{Reason: planner.SlotLost, Node: "n1", Why: "the slot lost its WAL", Remedy: "rebuild n2"}, nil
		}))
		o := b.recover(t, t.Context())
		var refusal *planner.Refusal
		if o.State != executor.Failed || o.Replan || !errors.As(o.Err, &refusal) || step(t, o, "observe").Attempts != 1 {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		e := only(t, b.bus, events.RecoveryRefused)
		if r := decode[events.Refused](t, e); r.Reason != "slot_lost" || r.Blocker != "n1" || r.Remedy != "rebuild n2" || r.Plan != "recovery" {
			t.Errorf("%+v", r)
		}
		if b.bus.kinds()[events.RecoveryFailed] != 0 {
			t.Error("a refusal is told of as a failure as well")
		}
		// Whoever is refused for the same reason tells the same.
		same, err := executor.Refused("n2", time.Now(), o.Plan, refusal)
		if err != nil || same.ID != e.ID {
			t.Errorf("id %s, want %s; %v", same.ID, e.ID, err)
		}
	})
}

func TestPassingRefusalIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10)
		b := newBench(t, m, &bus{}, "n1", observing(func(n int, p planner.Plan) (planner.Plan, *planner.Refusal, error) {
			switch n {
			case 1:
				return planner.Plan{}, &planner.Refusal{Reason: planner.NodeUnreachable, Wait: true}, nil
			case 2:
				return planner.Plan{}, nil, transient()
			case 3: // a worker that is still ending
				plan, _, _ := afresh(m, p)
				plan.Fenced = false
				return plan, nil, nil
			}
			return afresh(m, p)
		}))
		o := b.recover(t, t.Context())
		if o.State != executor.Verified || step(t, o, "observe").Attempts != 4 {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		m.check(t, 30)
	})
}

func TestFenceThatDoesNotHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10)
		b := newBench(t, m, &bus{}, "n1", observing(func(_ int, p planner.Plan) (planner.Plan, *planner.Refusal, error) {
			m.mu.Lock()
			m.servers["n2"].enabled = true // by hand
			m.mu.Unlock()
			return afresh(m, p)
		}))
		o := b.recover(t, t.Context())
		if o.State != executor.Failed || !o.Replan || m.calls["subscribe n1n2"] != 0 {
			t.Fatalf("run ended %s, %v; calls %v", o.State, o.Err, m.calls)
		}
	})
}

func TestPlanOfSomethingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10)
		b := newBench(t, m, &bus{}, "n1", observing(func(int, planner.Plan) (planner.Plan, *planner.Refusal, error) {
			return planner.Plan{ID: "another", Fenced: true}, nil, nil
		}))
		o := b.recover(t, t.Context())
		var f *topology.Fault
		if o.State != executor.Failed || !errors.As(o.Err, &f) || f.Code != executor.CodeWrongPlan {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
	})
}

// A survivor that was lost when the plan was made is back at the observe step:
// it is fenced too, and only then is progress final.
func TestSurvivorTurnsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10, 20, 35)
		m.kill("n4")
		b := newBench(t, m, &bus{}, "n1", observing(func(_ int, p planner.Plan) (planner.Plan, *planner.Refusal, error) {
			m.mu.Lock()
			m.servers["n4"].up = true
			m.mu.Unlock()
			return afresh(m, p)
		}))
		o := b.recover(t, t.Context())
		if o.State != executor.Verified || o.Plan.Source != "n4" || m.calls["fence n4"] != 1 {
			t.Fatalf("run ended %s from %s, %v", o.State, o.Plan.Source, o.Err)
		}
		m.check(t, 35)
	})
}

func TestMeshNeverSettles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10)
		b := newBench(t, m, &bus{}, "n1", observing(func(n int, p planner.Plan) (planner.Plan, *planner.Refusal, error) {
			plan, _, _ := afresh(m, p)
			plan.Fenced = false
			plan.Steps = append([]planner.Step{{ID: string(rune('a' + n)), Kind: planner.StepFence, Node: "n1"}}, plan.Steps...)
			return plan, nil, nil
		}))
		o := b.recover(t, t.Context())
		if o.State != executor.Failed || !o.Replan || m.calls["subscribe n1n2"] != 0 {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
	})
}

// The clone that was made for a node which is lost by now is dropped, and
// nothing waits for that node.
func TestCloneOfLostLaggardIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10, 20, 30)
		m.servers["n1"].clones["n3"] = true
		m.servers["n3"].mark = &topology.GapMark{Origin: dead, From: 20, To: 30}
		m.kill("n3")
		b := newBench(t, m, &bus{}, "n1")
		o := b.recover(t, t.Context())
		if o.State != executor.Verified || m.servers["n1"].clones["n3"] {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if m.servers["n3"].mark == nil {
			t.Error("the mark of a lost node was dropped")
		}
		m.check(t, 30)
	})
}
