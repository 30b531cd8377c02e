package executor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/events"
	"healer/executor"
	"healer/planner"
	"healer/topology"
)

// flaky fails the first n Applies of one step with err.
func flaky(want string, n int, err error) func(context.Context, planner.Step) error {
	var calls atomic.Int64
	return func(_ context.Context, s planner.Step) error {
		if name(s) == want && calls.Add(1) <= int64(n) {
			return err
		}
		return nil
	}
}

func transient() error { return topology.Faultf(topology.Transient, "57P03", "the server starts up") }

func TestTransientErrorsAreRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10, 20), &bus{}, "n1")
		b.mesh.trouble = flaky("subscribe n1 n2", 4, transient())
		o := b.recover(t, t.Context())
		s := step(t, o, "subscribe n1 n2")
		if o.State != executor.Verified || s.Attempts != 5 || s.Err != nil {
			t.Fatalf("run ended %s, %v; the step took %d attempts", o.State, o.Err, s.Attempts)
		}
		// The pauses grow from 100 ms by 1.7, each scattered by half.
		if s.Duration < 400*time.Millisecond || s.Duration > 2*time.Second {
			t.Errorf("four pauses took %s", s.Duration)
		}
		attempts := 0
		for _, e := range *b.journal.Load() {
			if e.Event == executor.EntryAttempt {
				attempts++
			}
		}
		if attempts != 4 {
			t.Errorf("the journal has %d failed attempts", attempts)
		}
		b.mesh.check(t, 30)
	})
}

func TestStepEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10), &bus{}, "n1", func(c *executor.Config) {
			c.Deadlines = map[planner.StepKind]time.Duration{planner.StepSubscribe: 42 * time.Second}
		})
		b.mesh.trouble = flaky("subscribe n1 n2", 1<<30, transient())
		o := b.recover(t, t.Context())
		s := step(t, o, "subscribe n1 n2")
		var f *topology.Fault
		if o.State != executor.Failed || !o.Replan || !errors.As(o.Err, &f) || f.Code != executor.CodeDeadline {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if s.Duration != 42*time.Second || s.Attempts < 8 {
			t.Errorf("%d attempts in %s", s.Attempts, s.Duration)
		}
		if got := states(o)["verify n1"]; got != executor.StepBlocked {
			t.Errorf("verify: %s", got)
		}
	})
}

func TestHangingStepEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10), &bus{}, "n1")
		b.mesh.trouble = func(ctx context.Context, s planner.Step) error {
			if s.Kind == planner.StepClone {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		o := b.recover(t, t.Context())
		if got, want := step(t, o, "clone n1 n2").Duration, executor.DefaultDeadlines()[planner.StepClone]; got != want || !o.Replan {
			t.Errorf("took %s: want %s; replan %v", got, want, o.Replan)
		}
	})
}

func TestPermanentErrorStopsItsLaneOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10, 20), &bus{}, "n1")
		b.mesh.trouble = flaky("subscribe n1 n3", 1, &topology.Fault{
			Code: "42501", Node: "n3", Hint: "GRANT pg_maintain TO healer", Err: errors.New("permission denied"),
		})
		o := b.recover(t, t.Context())
		if o.State != executor.Failed || o.Replan {
			t.Fatalf("run ended %s, replan %v", o.State, o.Replan)
		}
		want := map[string]executor.StepState{
			"fence n1": "done", "fence n2": "done", "fence n3": "done", "observe": "done",
			"clone n1 n2": "done", "advance n1 n2": "done", "subscribe n1 n2": "done",
			"clone n1 n3": "done", "advance n1 n3": "done", "subscribe n1 n3": "failed",
			"verify n1": "done", "release n1 n2": "done", "release n1 n3": "blocked",
		}
		if diff := cmp.Diff(want, states(o)); diff != "" {
			t.Error(diff)
		}
		if n := step(t, o, "subscribe n1 n3").Attempts; n != 1 {
			t.Errorf("a permanent error was tried %d times", n)
		}
		v := decode[events.Verified](t, only(t, b.bus, events.RecoveryVerified))
		if !cmp.Equal(v.Survivors, []string{"n1", "n2"}) || !cmp.Equal(v.Remaining, []string{"n3"}) {
			t.Errorf("verified %v, remaining %v", v.Survivors, v.Remaining)
		}
		f := decode[events.Failed](t, only(t, b.bus, events.RecoveryFailed))
		if f.Reason != "42501" || f.On != "n3" || f.Hint != "GRANT pg_maintain TO healer" || f.Retry || f.TransactionsRecovered != 20 ||
			f.UnsentText(dead) != "12 bytes only on "+dead+" until it returns" {
			t.Errorf("%+v", f)
		}
		// The mark of n3 is still there, and the next run takes it from there.
		o = b.recover(t, t.Context())
		if o.State != executor.Verified {
			t.Fatalf("second run ended %s, %v", o.State, o.Err)
		}
		if got := states(o)["clone n1 n3"]; got != executor.StepAlready {
			t.Errorf("clone in the second run: %s", got)
		}
		b.mesh.check(t, 30)
		if n := len(b.bus.of(events.RecoveryVerified)); n != 2 {
			t.Errorf("%d verified events: want one for each of the laggards", n)
		}
	})
}

func TestUnclassifiedErrorIsPermanent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10), &bus{}, "n1")
		b.mesh.trouble = flaky("fence n1", 1, errors.New("what is this"))
		o := b.recover(t, t.Context())
		if o.State != executor.Failed || o.Replan || states(o)["observe"] != executor.StepBlocked {
			t.Fatalf("run ended %s, %v", o.State, states(o))
		}
		if f := decode[events.Failed](t, only(t, b.bus, events.RecoveryFailed)); f.Reason != executor.CodeUnclassified || f.Kind != "fence" || f.On != "n1" {
			t.Errorf("%+v", f)
		}
	})
}

func TestConflictYields(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10)
		if o := newBench(t, m, &bus{}, "n2", crashAt(executor.AfterApply, "subscribe n1 n2")).recover(t, t.Context()); o.State != executor.Failed {
			t.Fatal(o.State)
		}
		m.servers["n2"].holder = "another agent"
		b := newBench(t, m, &bus{}, "n1")
		o := b.recover(t, t.Context())
		if o.State != executor.Yielded || o.Replan || topology.ClassOf(o.Err) != topology.Conflict {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if n := step(t, o, "subscribe n1 n2").Attempts; n != 1 {
			t.Errorf("a conflict was tried %d times", n)
		}
		// It advanced the clone, so it did start; it failed nothing.
		if k := b.bus.kinds(); k[events.RecoveryFailed] != 0 || k[events.RecoveryVerified] != 0 {
			t.Errorf("events %v", k)
		}
	})
}

func TestWhoYieldsAtOnceSaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10), &bus{}, "n1")
		b.mesh.trouble = func(context.Context, planner.Step) error {
			return topology.Faultf(topology.Conflict, "lock_held", "somebody else is at it")
		}
		if o := b.recover(t, t.Context()); o.State != executor.Yielded {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if diff := cmp.Diff(map[events.Kind]int{events.RecoveryPlanned: 1}, b.bus.kinds()); diff != "" {
			t.Error(diff)
		}
	})
}

// What failed is told of, and not that another lane is in other hands.
func TestFailureOutweighsConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10, 20, 25), &bus{}, "n1")
		b.mesh.trouble = func(_ context.Context, s planner.Step) error {
			switch name(s) {
			case "clone n1 n2":
				return topology.Faultf(topology.Conflict, "lock_held", "held")
			case "clone n1 n3":
				return transient()
			case "clone n1 n4":
				return topology.Faultf(topology.Permanent, "53400", "no slot is free")
			}
			return nil
		}
		o := b.recover(t, t.Context())
		if o.State != executor.Failed || !o.Replan || topology.ClassOf(o.Err) != topology.Permanent {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if f := decode[events.Failed](t, only(t, b.bus, events.RecoveryFailed)); f.Reason != "53400" || f.Kind != "clone" {
			t.Errorf("%+v", f)
		}
		if got := states(o)["verify n1"]; got != executor.StepBlocked {
			t.Errorf("verify without a lane: %s", got)
		}
	})
}

// A step may name thousands of keys; it is told of all the same.
func TestLongEvidenceFits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10), &bus{}, "n1")
		b.mesh.trouble = flaky("verify n1", 1, errors.New(strings.Repeat("key \u00e9\n", 50_000)))
		b.recover(t, t.Context())
		if f := decode[events.Failed](t, only(t, b.bus, events.RecoveryFailed)); len(f.Error) < 3000 || f.Kind != "verify" {
			t.Errorf("%d bytes of error of %s", len(f.Error), f.Kind)
		}
	})
}

func TestLanesOfTwoAgents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10, 20)
		m.servers["n3"].holder = "n2"
		shared := &bus{}
		first := newBench(t, m, shared, "n1").recover(t, t.Context())
		if first.State != executor.Yielded {
			t.Fatalf("run ended %s, %v", first.State, first.Err)
		}
		second := newBench(t, m, shared, "n2").recover(t, t.Context())
		if second.State != executor.Verified {
			t.Fatalf("run ended %s, %v", second.State, second.Err)
		}
		m.check(t, 30)
		var healed []string
		for _, e := range shared.of(events.RecoveryVerified) {
			for target := range decode[events.Verified](t, e).Laggards {
				healed = append(healed, target)
			}
		}
		if diff := cmp.Diff([]string{"n2", "n3"}, healed); diff != "" {
			t.Error(diff)
		}
		times := map[string]int{}
		for _, e := range shared.of(events.RecoveryStep) {
			s := decode[events.Step](t, e)
			times[s.Kind+" "+s.Node]++
		}
		for _, fence := range []string{"fence n1", "fence n2", "fence n3"} {
			if times[fence] != 1 {
				t.Errorf("%s is told of %d times", fence, times[fence])
			}
		}
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		cause error
		told  int
	}{
		{"by an operator", executor.ErrCancelled, 1},
		{"because the agent stops", nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, newMesh(30, 10, 20), &bus{}, "n1")
				b.mesh.work = 10 * time.Second
				b.mesh.trouble = func(_ context.Context, s planner.Step) error {
					if s.Kind == planner.StepSubscribe && s.Target == "n3" {
						return transient()
					}
					return nil
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(35*time.Second, func() { cancel(c.cause) })
				o := b.recover(t, ctx)
				if o.State != executor.Cancelled || !errors.Is(o.Err, context.Cause(ctx)) || o.Duration != 35*time.Second {
					t.Fatalf("run ended %s after %s, %v", o.State, o.Duration, o.Err)
				}
				got := states(o)
				if got["subscribe n1 n2"] != executor.StepCancelled || got["subscribe n1 n3"] != executor.StepCancelled || got["verify n1"] != executor.StepPending {
					t.Errorf("%v", got)
				}
				if n := b.bus.kinds()[events.RecoveryCancelled]; n != c.told {
					t.Errorf("%d events of the cancellation: want %d", n, c.told)
				}
				for _, e := range b.bus.of(events.RecoveryCancelled) {
					if f := decode[events.Failed](t, e); f.UnsentText(dead) != "12 bytes only on "+dead+" until it returns" {
						t.Errorf("it says of what nobody has: %q", f.UnsentText(dead))
					}
				}
				if n := b.bus.kinds()[events.RecoveryFailed]; n != 0 {
					t.Errorf("%d events of failure", n)
				}
				b.mesh.work, b.mesh.trouble = 0, nil
				if o = b.recover(t, t.Context()); o.State != executor.Verified {
					t.Fatalf("the next run ended %s, %v", o.State, o.Err)
				}
				b.mesh.check(t, 30)
			})
		})
	}
}

func TestSourceLostMidway(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]func(context.Context) error{
		"ended":   context.Context.Err,
		"cause":   context.Cause,
		"wrapped": func(ctx context.Context) error { return fmt.Errorf("the stream: %w", context.Cause(ctx)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, newMesh(30, 25, 10, 30, 25), &bus{}, "n2")
				b.mesh.trouble = func(ctx context.Context, s planner.Step) error {
					if s.Kind != planner.StepSubscribe || s.Target != "n3" || s.Node != "n1" {
						return nil
					}
					// A host that vanished: nothing answers any more.
					b.mesh.kill("n1")
					<-ctx.Done()
					return says(ctx)
				}
				o := b.recover(t, t.Context())
				var f *topology.Fault
				if o.State != executor.Failed || !o.Replan || !errors.As(o.Err, &f) || f.Code != executor.CodeNodeLost || f.Node != "n1" {
					t.Fatalf("run ended %s, %v", o.State, o.Err)
				}
				if o.Duration > time.Second {
					t.Errorf("the loss was noticed after %s", o.Duration)
				}
				o = b.recover(t, t.Context())
				if o.State != executor.Verified || o.Plan.Source != "n4" {
					t.Fatalf("second run ended %s from %s, %v", o.State, o.Plan.Source, o.Err)
				}
				b.mesh.check(t, 30)
			})
		})
	}
}

// The only source is lost before anything came across: there is nothing to compare,
// and what that leaves unknown is said, with the command that finds out.
func TestSourceLostBeforeAnythingCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10, 10, 10), &bus{}, "n2")
		var marked sync.WaitGroup
		marked.Add(3)
		b.mesh.trouble = func(_ context.Context, s planner.Step) error {
			if s.Kind != planner.StepAdvance {
				return nil
			}
			marked.Done()
			marked.Wait()
			b.mesh.kill("n1")
			return down("n1")
		}
		if o := b.recover(t, t.Context()); o.State != executor.Failed || !o.Replan {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		o := b.recover(t, t.Context())
		if o.State != executor.Verified || len(o.Plan.Lanes) > 0 {
			t.Fatalf("second run ended %s, %v", o.State, o.Err)
		}
		b.mesh.check(t, 10)
		v := decode[events.Verified](t, only(t, b.bus, events.RecoveryVerified))
		var nodes []string
		for _, u := range v.Uncompared {
			nodes = append(nodes, u.Node)
			if !strings.Contains(u.Why, "not known") || !strings.HasPrefix(u.Remedy, "healer verify") {
				t.Errorf("%+v", u)
			}
		}
		if diff := cmp.Diff([]string{"n2", "n3", "n4"}, nodes); diff != "" || v.RowsCompared != 0 {
			t.Errorf("%s, %d rows compared", diff, v.RowsCompared)
		}
	})
}

func TestLaggardLostMidway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10, 20), &bus{}, "n1")
		b.mesh.trouble = func(_ context.Context, s planner.Step) error {
			if s.Kind == planner.StepSubscribe && s.Target == "n3" {
				b.mesh.kill("n3")
				return transient()
			}
			return nil
		}
		o := b.recover(t, t.Context())
		if o.State != executor.Failed || !o.Replan {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if got := states(o); got["release n1 n2"] != executor.StepDone || got["release n1 n3"] != executor.StepBlocked {
			t.Errorf("%v", got)
		}
		if s := b.mesh.servers["n2"]; s.progress != 30 || s.mark != nil {
			t.Errorf("n2 was not healed: %+v", s)
		}
	})
}

func TestSuccessIsNotBelieved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(30, 10)
		b := newBench(t, m, &bus{}, "n1", func(c *executor.Config) {
			c.Handlers[planner.StepFence] = liar{}
		})
		o := b.recover(t, t.Context())
		var f *topology.Fault
		if o.State != executor.Failed || !errors.As(step(t, o, "fence n1").Err, &f) || f.Code != executor.CodeDeadline {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if !errors.As(f.Err, &f) || f.Code != executor.CodeNotDone {
			t.Errorf("%v", f)
		}
	})
}

// liar says it did.
type liar struct{}

func (liar) Check(context.Context, planner.Plan, planner.Step) (bool, string, error) {
	return false, "the subscription is enabled", nil
}

func (liar) Apply(context.Context, planner.Plan, planner.Step) (executor.Result, error) {
	return executor.Result{}, nil
}
