package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"healer/events"
	"healer/executor"
	"healer/planner"
	"healer/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is one agent's executor over a mesh.
type bench struct {
	mesh    *mesh
	bus     *bus
	journal *memory
	exec    *executor.Executor
}

// memory is a journal in memory.
type memory struct {
	atomic.Pointer[[]executor.Entry]
}

func (m *memory) Record(entries ...executor.Entry) error {
	for {
		old := m.Load()
		var next []executor.Entry
		if old != nil {
			next = slices.Clone(*old)
		}
		next = append(next, entries...)
		if m.CompareAndSwap(old, &next) {
			return nil
		}
	}
}

func newBench(t *testing.T, m *mesh, b *bus, agent string, change ...func(*executor.Config)) *bench {
	t.Helper()
	out := &bench{mesh: m, bus: b, journal: &memory{}}
	t.Cleanup(func() { b.check(t) })
	var runs atomic.Int64
	cfg := executor.Config{
		Agent: agent, Handlers: m.handlers(agent), Replanner: m, Publisher: b, Journal: out.journal, Lost: m.lost,
		NewRun: func() string { return agent + "-" + string(rune('a'+runs.Add(1)-1)) },
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if out.exec, err = executor.New(cfg); err != nil {
		t.Fatal(err)
	}
	return out
}

// recover plans the recovery and runs it.
func (b *bench) recover(t *testing.T, ctx context.Context) executor.Outcome { //nolint:revive // the test comes first here
	t.Helper()
	plan, refusal := b.mesh.plan(planner.Recovery)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return b.exec.Run(ctx, plan)
}

// states maps "kind node target" to how the step ended.
func states(o executor.Outcome) map[string]executor.StepState {
	out := map[string]executor.StepState{}
	for _, s := range o.Steps {
		out[name(s.Step)] = s.State
	}
	return out
}

func name(s planner.Step) string {
	n := string(s.Kind)
	for _, part := range []string{s.Node, s.Target} {
		if part != "" {
			n += " " + part
		}
	}
	return n
}

func step(t *testing.T, o executor.Outcome, want string) executor.StepOutcome {
	t.Helper()
	for _, s := range o.Steps {
		if name(s.Step) == want {
			return s
		}
	}
	t.Fatalf("no step %q in %v", want, states(o))
	return executor.StepOutcome{}
}

func decode[T any](t *testing.T, e events.Event) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(e.Data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func only(t *testing.T, b *bus, k events.Kind) events.Event {
	t.Helper()
	got := b.of(k)
	if len(got) != 1 {
		t.Fatalf("%d events %s: want one", len(got), k)
	}
	return got[0]
}

func TestLanesRunSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10, 20, 25), &bus{}, "n1")
		b.mesh.work = time.Second
		o := b.recover(t, t.Context())
		if o.State != executor.Verified || o.Err != nil || o.Replan {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		b.mesh.check(t, 30)
		// Fence, clone, advance, subscribe, verify, release: a second each,
		// however many laggards there are.
		if o.Duration != 6*time.Second {
			t.Errorf("took %s", o.Duration)
		}
		got := decode[events.Verified](t, only(t, b.bus, events.RecoveryVerified))
		want := events.Verified{
			Node: dead, Source: "n1", Watermark: 30, Survivors: []string{"n1", "n2", "n3", "n4"},
			Laggards:              map[string]int64{"n2": 20, "n3": 10, "n4": 5},
			TransactionsRecovered: 35, TransactionsApplied: 35, RowsCompared: 10, RowsRepaired: 1, DurationMS: 5000, Run: "n1-a",
			Unsent: topology.Unsent{UnsentBytes: new(int64(12))},
			PhasesMS: map[string]int64{
				"fence": 1000, "observe": 0, "clone": 1000, "advance": 1000, "subscribe": 1000, "verify": 1000,
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		kinds := map[events.Kind]int{
			events.RecoveryPlanned: 2, events.RecoveryStarted: 1, events.RecoveryStep: len(o.Steps), events.RecoveryVerified: 1,
		}
		if diff := cmp.Diff(kinds, b.bus.kinds()); diff != "" {
			t.Error(diff)
		}
		for i, final := range []bool{false, true} {
			if p := decode[events.Planned](t, b.bus.of(events.RecoveryPlanned)[i]); p.Final != final || len(p.Lanes) != 3 || p.UnsentBytes == nil || *p.UnsentBytes != 12 {
				t.Errorf("plan %d: %+v", i, p)
			}
		}
		if plan, refusal := b.mesh.plan(planner.Recovery); refusal != nil || !plan.Empty() {
			t.Errorf("a plan after a success: %v %v", plan.Steps, refusal)
		}
	})
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	b := newBench(t, newMesh(30), &bus{}, "n1")
	if o := b.exec.Run(t.Context(), planner.Plan{ID: "p"}); o.State != executor.Nothing || len(b.bus.got) != 0 {
		t.Errorf("%+v, events %v", o, b.bus.got)
	}
}

func TestNothingMissingBehindTheFences(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 30, 30), &bus{}, "n1")
		if o := b.recover(t, t.Context()); o.State != executor.Verified {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if v := decode[events.Verified](t, only(t, b.bus, events.RecoveryVerified)); v.TransactionsRecovered != 0 || len(v.Laggards) != 0 {
			t.Errorf("%+v", v)
		}
	})
}

// A run that was planned while another had done half of the rejoin has that half
// not in its plan. What both tell of is still one thing.
func TestOverlappingRejoinsAreOneEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10, 20), &bus{}, "n1")
		if o := b.recover(t, t.Context()); o.State != executor.Verified {
			t.Fatal(o.Err)
		}
		b.mesh.backUp = true
		whole, _ := b.mesh.plan(planner.Rejoin)
		b.mesh.servers["n2"].fence, b.mesh.servers["n2"].enabled = false, true
		half, _ := b.mesh.plan(planner.Rejoin)
		if slices.Equal(whole.Survivors, half.Survivors) {
			t.Fatal("the second plan has no less to do")
		}
		for _, p := range []planner.Plan{whole, half} {
			if o := b.exec.Run(t.Context(), p); o.State != executor.Rejoined {
				t.Fatalf("run ended %s, %v", o.State, o.Err)
			}
		}
		only(t, b.bus, events.NodeRejoined)
		if n := b.bus.kinds()[events.RecoveryStarted]; n != 2 {
			t.Errorf("%d runs started: the second only looked", n)
		}
	})
}

func TestRejoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10, 20), &bus{}, "n1")
		if o := b.recover(t, t.Context()); o.State != executor.Verified {
			t.Fatal(o.Err)
		}
		b.mesh.backUp = true
		plan, refusal := b.mesh.plan(planner.Rejoin)
		if refusal != nil {
			t.Fatal(refusal)
		}
		if o := b.exec.Run(t.Context(), plan); o.State != executor.Rejoined {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		if r := decode[events.Rejoined](t, only(t, b.bus, events.NodeRejoined)); !cmp.Equal(r.Survivors, []string{"n1", "n2", "n3"}) {
			t.Errorf("%+v", r)
		}
		b.mesh.check(t, 30)
		if plan, _ := b.mesh.plan(planner.Rejoin); !plan.Empty() {
			t.Error("a plan after a rejoin is not empty")
		}
	})
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMesh(30, 10), &bus{err: errors.New("outbox is full")}, "n1", func(c *executor.Config) { c.Journal = full{} })
		if o := b.recover(t, t.Context()); o.State != executor.Verified {
			t.Fatalf("run ended %s, %v", o.State, o.Err)
		}
		b.mesh.check(t, 30)
	})
}

// full is a journal on a full disk.
type full struct{}

func (full) Record(...executor.Entry) error { return errors.New("no space left on device") }

func TestConfiguration(t *testing.T) {
	t.Parallel()
	m := newMesh(1)
	good := executor.Config{Agent: "n1", Handlers: m.handlers("n1"), Replanner: m, Publisher: &bus{}}
	if _, err := executor.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*executor.Config){
		"no agent":     func(c *executor.Config) { c.Agent = "" },
		"no replanner": func(c *executor.Config) { c.Replanner = nil },
		"no publisher": func(c *executor.Config) { c.Publisher = nil },
		"a verb missing": func(c *executor.Config) {
			c.Handlers = m.handlers("n1")
			delete(c.Handlers, planner.StepDrain)
		},
	} {
		bad := good
		spoil(&bad)
		if _, err := executor.New(bad); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
