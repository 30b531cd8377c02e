package executor_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"healer/events"
	"healer/events/eventstest"
	"healer/executor"
	"healer/planner"
	"healer/topology"
)

// dead is the node that is lost in these tests.
const dead = "n9"

// server is a node of the fake mesh, as its catalogs would have it.
type server struct {
	up       bool
	enabled  bool
	fence    bool
	progress topology.LSN
	// applied counts how often each of the dead node's transactions was
	// applied here; there is one at each LSN.
	applied  map[topology.LSN]int
	mark     *topology.GapMark
	clones   map[string]bool
	verified bool
	// holder has the advisory lock of this laggard.
	holder string
}

// mesh is a fake of everything that handlers act on: it has the catalogs, and
// nothing else outlives a run. The planner plans over it.
type mesh struct {
	mu      sync.Mutex
	servers map[string]*server
	backUp  bool
	// missing are the nodes on which no recovery slot is.
	missing map[string]bool
	// work is how long each Apply takes.
	work time.Duration
	// trouble is asked before each Apply.
	trouble func(ctx context.Context, s planner.Step) error
	// calls counts the Applies that did something, by kind and server.
	calls map[string]int
	fails []string
}

// newMesh makes a mesh whose servers n1, n2, ... have the progress given.
func newMesh(progress ...topology.LSN) *mesh {
	m := &mesh{servers: map[string]*server{}, calls: map[string]int{}, missing: map[string]bool{}}
	for i, p := range progress {
		s := &server{up: true, enabled: true, progress: p, applied: map[topology.LSN]int{}, clones: map[string]bool{}}
		for l := topology.LSN(1); l <= p; l++ {
			s.applied[l] = 1
		}
		m.servers[fmt.Sprintf("n%d", i+1)] = s
	}
	return m
}

func (m *mesh) lost() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	if !m.backUp {
		out = append(out, dead)
	}
	for _, n := range slices.Sorted(maps.Keys(m.servers)) {
		if !m.servers[n].up {
			out = append(out, n)
		}
	}
	return out
}

func (m *mesh) kill(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.servers[name].up = false
}

func (m *mesh) observe() topology.Observation {
	m.mu.Lock()
	defer m.mu.Unlock()
	obs := topology.Observation{Cluster: "app"}
	d := topology.NodeState{Name: dead, Reachable: m.backUp, Database: "app", Identity: topology.Identity{SystemID: 9, Timeline: 1}, Flushed: 1 << 40}
	for _, name := range slices.Sorted(maps.Keys(m.servers)) {
		s := m.servers[name]
		n := topology.NodeState{Name: name, Reachable: s.up, Database: "app"}
		n.Subscriptions = []topology.Subscription{{Name: "s", Provider: dead, Enabled: s.enabled, Progress: s.progress, Slot: "mesh_" + name, Worker: topology.WorkerNone}}
		if s.fence {
			n.Fences = []topology.Fence{{Subscription: "s", Origin: dead, Identity: d.Identity}}
		}
		if s.mark != nil {
			n.Gaps = []topology.GapMark{*s.mark}
		}
		for _, to := range slices.Sorted(maps.Keys(m.servers)) {
			if to != name && !m.missing[name] {
				n.Slots = append(n.Slots, topology.Slot{Name: "r_" + to, Kind: topology.SlotRecovery, To: to})
			}
			if s.clones[to] {
				n.Slots = append(n.Slots, topology.Slot{Name: "c_" + to, Kind: topology.SlotClone, To: to, Origin: dead})
			}
		}
		d.Slots = append(d.Slots, topology.Slot{Name: "mesh_" + name, Kind: topology.SlotMesh, To: name})
		obs.Nodes = append(obs.Nodes, n)
	}
	obs.Nodes = append(obs.Nodes, d)
	return obs
}

// plan asks the planner what is to be done.
func (m *mesh) plan(k planner.Kind) (planner.Plan, *planner.Refusal) {
	known := topology.Memory{End: topology.LogEnd{Flushed: 42}}
	return planner.Make(planner.Trigger{Kind: k, Node: dead, Incarnation: "i.1", Lost: m.lost(), Memory: known},
		m.observe(), planner.Policy{Mode: planner.ModeAuto})
}

// Replan implements executor.Replanner.
func (m *mesh) Replan(_ context.Context, p planner.Plan) (planner.Plan, *planner.Refusal, error) {
	plan, refusal := m.plan(p.Kind)
	return plan, refusal, nil
}

// handlers are the verbs on the mesh as agent does them.
func (m *mesh) handlers(agent string) map[planner.StepKind]executor.Handler {
	out := map[planner.StepKind]executor.Handler{}
	for k := range executor.DefaultDeadlines() {
		if k != planner.StepObserve {
			out[k] = &verb{mesh: m, agent: agent}
		}
	}
	return out
}

// verb is the handler of every kind of step.
type verb struct {
	mesh  *mesh
	agent string
}

func (v *verb) Check(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	m := v.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	n, t := m.servers[s.Node], m.servers[s.Target]
	if n != nil && !n.up {
		return false, "", down(s.Node)
	}
	checks := map[planner.StepKind]func() bool{
		planner.StepFence: func() bool { return n.fence && !n.enabled },
		planner.StepClone: func() bool { return n.clones[s.Target] && t.mark != nil },
		planner.StepRelease: func() bool {
			return !n.clones[s.Target] && (t.mark == nil || !slices.Contains(p.Survivors, s.Target))
		},
		planner.StepUnfence: func() bool { return !n.fence && n.enabled },
	}
	if check, ok := checks[s.Kind]; ok {
		return check(), "catalogs read", ctx.Err()
	}
	return false, "this leaves no trace", ctx.Err()
}

func (v *verb) Apply(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	m := v.mesh
	if m.trouble != nil {
		if err := m.trouble(ctx, s); err != nil {
			return executor.Result{}, err
		}
	}
	if m.work > 0 {
		select {
		case <-time.After(m.work):
		case <-ctx.Done():
			return executor.Result{}, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range []string{s.Node, s.Target} {
		if srv := m.servers[name]; srv != nil && !srv.up && slices.Contains(p.Survivors, name) {
			return executor.Result{}, down(name)
		}
	}
	m.calls[string(s.Kind)+" "+s.Node+s.Target]++
	return v.do(p, s)
}

func (v *verb) do(p planner.Plan, s planner.Step) (executor.Result, error) {
	m := v.mesh
	n, t := m.servers[s.Node], m.servers[s.Target]
	lane, _ := p.Lane(s.Target)
	switch s.Kind {
	case planner.StepFence:
		n.enabled, n.fence = false, true
	case planner.StepUnfence:
		if !n.fence {
			m.fails = append(m.fails, s.Node+" is unfenced without a mark")
		}
		n.enabled, n.fence = true, false
	case planner.StepClone:
		if t.mark == nil {
			t.mark = &topology.GapMark{Origin: dead, From: lane.From, To: lane.To}
		}
		n.clones[s.Target], t.verified = true, false
	case planner.StepSubscribe:
		return v.carry(n, t, lane)
	case planner.StepVerify:
		return m.compare(p), nil
	case planner.StepRelease:
		delete(n.clones, s.Target)
		if !slices.Contains(p.Survivors, s.Target) {
			break
		}
		// Where the source was lost before anything came across, nothing is to be verified.
		if t.mark != nil && !t.verified && t.progress > t.mark.From {
			m.fails = append(m.fails, s.Target+" is released and was not verified")
		}
		t.mark, t.holder = nil, ""
	case planner.StepAdvance, planner.StepObserve, planner.StepCheck, planner.StepDrain, planner.StepCompare:
	}
	return executor.Result{Evidence: "did " + string(s.Kind)}, nil
}

// carry applies the gap on t, under t's advisory lock.
func (v *verb) carry(n, t *server, lane planner.Lane) (executor.Result, error) {
	if t.holder != "" && t.holder != v.agent {
		return executor.Result{}, topology.Faultf(topology.Conflict, "lock_held", "%s holds the origin", t.holder)
	}
	t.holder = v.agent
	res := executor.Result{Figures: map[string]int64{executor.FigureMissing: int64(lane.To - lane.From)}} //nolint:gosec // small
	if n.progress < lane.To || t.enabled || t.mark == nil {
		v.mesh.fails = append(v.mesh.fails, lane.Target+" applies what nothing allows")
	}
	for l := t.progress + 1; l <= lane.To; l++ {
		t.applied[l]++
		res.Figures[executor.FigureTransactions]++
	}
	t.progress = max(t.progress, lane.To)
	return res, nil
}

func (m *mesh) compare(p planner.Plan) executor.Result {
	for _, name := range p.Survivors {
		if m.servers[name].progress != p.Watermark {
			m.fails = append(m.fails, name+" is verified without its transactions")
		}
		m.servers[name].verified = true
	}
	return executor.Result{Figures: map[string]int64{executor.FigureCompared: 10, executor.FigureRepaired: 1}}
}

func down(name string) error {
	return &topology.Fault{Class: topology.Transient, Code: "08006", Node: name, Hint: "start " + name, Err: context.Canceled}
}

// check fails the test unless the servers that are up converged at w.
func (m *mesh) check(t *testing.T, w topology.LSN) {
	t.Helper()
	for _, problem := range m.problems(w) {
		t.Error(problem)
	}
}

func (m *mesh) problems(w topology.LSN) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.fails)
	for _, name := range slices.Sorted(maps.Keys(m.servers)) {
		s := m.servers[name]
		if !s.up {
			continue
		}
		for l := topology.LSN(1); l <= w; l++ {
			if s.applied[l] != 1 {
				out = append(out, fmt.Sprintf("%s has transaction %s %d times", name, l, s.applied[l]))
			}
		}
		if s.mark != nil || len(s.clones) > 0 {
			out = append(out, fmt.Sprintf("%s is left with mark %v and clones %v", name, s.mark, s.clones))
		}
	}
	return out
}

// bus keeps what is published, as a broker would: an id that came before is
// dropped.
type bus struct {
	mu   sync.Mutex
	seen map[string]bool
	got  []events.Event
	err  error
}

func (b *bus) Publish(e events.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	if b.seen[e.ID] {
		return nil
	}
	b.seen[e.ID] = true
	b.got = append(b.got, e)
	return nil
}

// check compares what was published with the schemas.
func (b *bus) check(t *testing.T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.got {
		eventstest.Check(t, e)
	}
}

// kinds counts the events by kind.
func (b *bus) kinds() map[events.Kind]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[events.Kind]int{}
	for _, e := range b.got {
		out[e.Kind()]++
	}
	return out
}

// of returns the events of a kind.
func (b *bus) of(k events.Kind) []events.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []events.Event
	for _, e := range b.got {
		if e.Kind() == k {
			out = append(out, e)
		}
	}
	return out
}
