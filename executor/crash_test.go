package executor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"healer/events"
	"healer/executor"
	"healer/planner"
	"healer/topology"
)

var errKilled = errors.New("killed")

// crashAt kills the run at one boundary of one step.
func crashAt(at executor.At, want string) func(*executor.Config) {
	return func(c *executor.Config) {
		c.Failpoint = func(a executor.At, s planner.Step) error {
			if a == at && name(s) == want {
				return errKilled
			}
			return nil
		}
	}
}

// boundaries lists the boundaries that a run passes, with a run of its own.
func boundaries(t *testing.T) []string {
	t.Helper()
	var mu sync.Mutex
	var out []string
	b := newBench(t, newMesh(30, 10, 20), &bus{}, "n1", func(c *executor.Config) {
		c.Failpoint = func(at executor.At, s planner.Step) error {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, string(at)+"|"+name(s))
			return nil
		}
	})
	if o := b.recover(t, t.Context()); o.State != executor.Verified {
		t.Fatal(o.Err)
	}
	return out
}

// Killed at any boundary, the recovery is finished by another agent, which
// finds done what was done and tells of what the first one could not.
func TestKilledAtEveryBoundary(t *testing.T) {
	t.Parallel()
	all := boundaries(t)
	if len(all) != 24 { // 3 fences, 2 lanes of 3, verify, 2 releases, both boundaries
		t.Fatalf("%d boundaries: %v", len(all), all)
	}
	for _, where := range all {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { killAndResume(t, where) })
		})
	}
}

func killAndResume(t *testing.T, where string) {
	t.Helper()
	m, shared := newMesh(30, 10, 20), &bus{}
	first := newBench(t, m, shared, "n1", func(c *executor.Config) {
		c.Failpoint = func(at executor.At, s planner.Step) error {
			if string(at)+"|"+name(s) == where {
				return errKilled
			}
			return nil
		}
	})
	o := first.recover(t, t.Context())
	if o.State != executor.Failed || !errors.Is(o.Err, errKilled) {
		t.Fatalf("killed run ended %s, %v", o.State, o.Err)
	}
	if n := m.calls["verify n1"]; n > 0 && !strings.HasSuffix(where, "verify n1") && !strings.Contains(where, "release") {
		t.Error("the other lane of a killed run went on")
	}
	entries := *first.journal.Load()
	if last := entries[len(entries)-1]; last.Event == executor.EntryEnd {
		t.Error("a killed run wrote its end")
	}
	// Its sessions end with it, and so do the advisory locks.
	for _, s := range m.servers {
		s.holder = ""
	}
	second := newBench(t, m, shared, "n2")
	plan, refusal := m.plan(planner.Recovery)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if o = second.exec.Run(t.Context(), plan); o.State != executor.Verified && o.State != executor.Nothing {
		t.Fatalf("second run ended %s, %v", o.State, o.Err)
	}
	m.check(t, 30)
	for _, n := range []string{"n1", "n2", "n3"} {
		if calls := m.calls["fence "+n]; calls != 1 {
			t.Errorf("%s was fenced %d times", n, calls)
		}
	}
	if shared.kinds()[events.RecoveryVerified] == 0 {
		t.Error("nobody heard that the recovery is verified")
	}
	for _, e := range shared.of(events.RecoveryVerified) {
		// What the laggards lacked, whichever run applied it.
		v := decode[events.Verified](t, e)
		var lacked int64
		for _, n := range v.Laggards {
			lacked += n
		}
		if v.TransactionsRecovered != lacked || lacked == 0 || v.TransactionsApplied > lacked {
			t.Errorf("%d transactions are recovered, %d of them by the last run, of %v", v.TransactionsRecovered, v.TransactionsApplied, v.Laggards)
		}
		if where == "before_apply|verify n1" && (lacked != 30 || v.TransactionsApplied != 0) {
			t.Errorf("the second run recovered %d and applied %d: want 30 and 0", lacked, v.TransactionsApplied)
		}
	}
	if shared.kinds()[events.RecoveryFailed] != 0 {
		t.Error("a killed run told of its own death")
	}
}

// Whatever errors, kills and losses come in whatever order, runs that are
// repeated converge, and apply each transaction once.
func TestRunsConverge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(2, 6).Draw(rt, "survivors")
		var progress []topology.LSN
		for range size {
			progress = append(progress, topology.LSN(rapid.IntRange(1, 30).Draw(rt, "progress")))
		}
		// One turn of fate for each Apply that is asked for, then peace.
		fate := rapid.SliceOfN(rapid.SampledFrom([]string{"", "", "transient", "permanent", "conflict", "lose", "slow"}), 0, 30).Draw(rt, "fate")
		kills := rapid.SliceOfN(rapid.SampledFrom([]string{"", "", "", "kill"}), 0, 40).Draw(rt, "kills")
		var problems []string
		synctest.Test(t, func(t *testing.T) { problems = converge(t, newMesh(progress...), queue(fate), queue(kills)) })
		if len(problems) > 0 {
			rt.Fatalf("%v", problems)
		}
	})
}

// queue hands out what is in list, and then nothing for ever.
func queue(list []string) func() string {
	var mu sync.Mutex
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if len(list) == 0 {
			return ""
		}
		first := list[0]
		list = list[1:]
		return first
	}
}

// converge runs until a plan is empty or refused, and returns what is wrong.
func converge(t *testing.T, m *mesh, fate, kills func() string) []string {
	t.Helper()
	m.trouble = func(_ context.Context, s planner.Step) error {
		switch fate() {
		case "transient":
			return transient()
		case "permanent":
			return topology.Faultf(topology.Permanent, "XX000", "broken")
		case "conflict":
			return topology.Faultf(topology.Conflict, "lock_held", "held")
		case "slow":
			<-time.After(time.Second)
		case "lose":
			if len(m.lost()) == 1 && len(m.servers) > 3 {
				m.kill(s.Node)
			}
		}
		return nil
	}
	for run := 0; ; run++ {
		if run > 40 {
			return []string{"no end of runs"}
		}
		plan, refusal := m.plan(planner.Recovery)
		if refusal != nil && refusal.Reason == planner.NoMajority || refusal != nil && refusal.Reason == planner.SoleSurvivor {
			return nil
		}
		if refusal != nil {
			return []string{refusal.Error()}
		}
		if plan.Empty() {
			break
		}
		agent := fmt.Sprint("agent", run)
		b := newBench(t, m, &bus{}, agent, func(c *executor.Config) {
			c.Failpoint = func(executor.At, planner.Step) error {
				if kills() == "kill" {
					return errKilled
				}
				return nil
			}
		})
		b.exec.Run(t.Context(), plan)
		for _, s := range m.servers {
			s.holder = ""
		}
	}
	w := topology.LSN(0)
	for _, s := range m.servers {
		if s.up {
			w = max(w, s.progress)
		}
	}
	return m.problems(w)
}
