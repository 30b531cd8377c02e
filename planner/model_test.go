package planner_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"healer/planner"
	"healer/topology"
)

// The model: a mesh as sets of the lost node's transactions, with the marks,
// slots and clones that plans act on. Steps do to it what the protocol says
// they do to PostgreSQL, and check on the way what must hold.

// lost is the node that dies in the model.
const lost = "n00"

// peer is a node of the model.
type peer struct {
	up bool
	// hidden: it is up, and nobody can read it.
	hidden bool
	// applied counts how often each transaction was applied.
	applied map[topology.LSN]int
	// received is how many of the log's transactions have reached it; those not
	// applied yet are applied when the fence drains.
	received int
	// carried are the transactions that a recovery brought and nothing has
	// verified since.
	carried  map[topology.LSN]bool
	progress topology.LSN
	enabled  bool
	fence    bool
	mark     *topology.GapMark
	// slots and clones by the peer they are for; a slot's value is its
	// wal_status.
	slots  map[string]string
	clones map[string]bool
}

// world is the mesh.
type world struct {
	// log are the lost node's transactions, in order.
	log    []topology.LSN
	peers  map[string]*peer
	memory topology.Memory
	// backUp is set once the lost node is back.
	backUp bool
	// rows may stand in for transactions.
	rows bool
	fail func(format string, args ...any)
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.peers)) }

// lostNow is what the detector says.
func (w *world) lostNow() []string {
	var out []string
	if !w.backUp {
		out = append(out, lost)
	}
	for _, n := range w.names() {
		if !w.peers[n].up {
			out = append(out, n)
		}
	}
	return out
}

// seen reports whether the node can be read.
func (p *peer) seen() bool { return p.up && !p.hidden }

// silent are the nodes that nobody judges lost and nobody can read.
func (w *world) silent() []string {
	var out []string
	for _, n := range w.names() {
		if w.peers[n].up && w.peers[n].hidden {
			out = append(out, n)
		}
	}
	return out
}

// observe reads the mesh.
func (w *world) observe() topology.Observation {
	f := topology.NodeState{Name: lost, Reachable: w.backUp, Database: "app"}
	if w.backUp {
		f.Identity, f.Flushed = w.memory.Identity, w.log[len(w.log)-1]
	}
	obs := topology.Observation{Cluster: "model"}
	for _, name := range w.names() {
		p := w.peers[name]
		f.Slots = append(f.Slots, topology.Slot{Name: "mesh_" + name, Kind: topology.SlotMesh, To: name, WALStatus: "reserved"})
		n := topology.NodeState{Name: name, Reachable: p.seen(), Database: "app", Problem: "no answer"}
		if p.seen() {
			w.read(&n, p)
		}
		obs.Nodes = append(obs.Nodes, n)
	}
	obs.Nodes = append([]topology.NodeState{f}, obs.Nodes...)
	return obs
}

func (w *world) read(n *topology.NodeState, p *peer) {
	sub := topology.Subscription{
		Name: "s", Provider: lost, Enabled: p.enabled, Progress: p.progress, Slot: "mesh_" + n.Name, Worker: topology.WorkerNone,
	}
	if p.enabled {
		sub.Worker = topology.WorkerBusy
	}
	n.Subscriptions = []topology.Subscription{sub}
	if p.fence {
		n.Fences = []topology.Fence{{Subscription: "s", Origin: lost, Identity: w.memory.Identity}}
	}
	if p.mark != nil {
		n.Gaps = []topology.GapMark{*p.mark}
	}
	for to, status := range p.slots {
		n.Slots = append(n.Slots, topology.Slot{Name: "r_" + to, Kind: topology.SlotRecovery, To: to, WALStatus: status})
	}
	for to := range p.clones {
		n.Slots = append(n.Slots, topology.Slot{Name: "c_" + to, Kind: topology.SlotClone, To: to, Origin: lost, WALStatus: "reserved"})
	}
	// Catalogs give rows in any order.
	slices.SortFunc(n.Slots, func(a, b topology.Slot) int { return len(a.Name+a.To)%2 - len(b.Name+b.To)%2 })
}

// apply applies the log's transactions up to and including to, each one once
// and in order.
func (w *world) apply(name string, to topology.LSN, carried bool) {
	p := w.peers[name]
	for _, tx := range w.log {
		if tx <= p.progress || tx > to {
			continue
		}
		p.applied[tx]++
		if carried {
			p.carried[tx] = true
		}
	}
	p.progress = max(p.progress, to)
	for _, tx := range w.log {
		want := 0
		if tx <= p.progress {
			want = 1
		}
		if p.applied[tx] != want {
			w.fail("%s has transaction %s %d times with progress %s", name, tx, p.applied[tx], p.progress)
		}
	}
}

// newest is the watermark of what is up.
func (w *world) newest() topology.LSN {
	var out topology.LSN
	for _, p := range w.peers {
		if p.seen() {
			out = max(out, p.progress)
		}
	}
	return out
}

// do carries out one step, which the plan must have the right to.
func (w *world) do(plan planner.Plan, s planner.Step) {
	n, t := w.peers[s.Node], w.peers[s.Target]
	for _, touched := range []string{s.Node, s.Target} {
		p, ok := w.peers[touched]
		if ok && !p.seen() && !(s.Kind == planner.StepRelease && touched == s.Target) {
			w.fail("step %s acts on %s, which is lost or cannot be read", s.Kind, touched)
		}
	}
	verbs := map[planner.StepKind]func(){
		planner.StepFence:     func() { w.drainAndFence(s.Node) },
		planner.StepClone:     func() { w.clone(plan, s) },
		planner.StepAdvance:   func() {},
		planner.StepSubscribe: func() { w.subscribe(plan, s) },
		planner.StepRows:      func() { w.carryRows(plan, s) },
		planner.StepVerify:    func() { w.verify(plan) },
		planner.StepRelease:   func() { w.release(plan, s) },
		planner.StepCheck:     func() {},
		planner.StepUnfence:   func() { w.unfence(s.Node) },
		planner.StepDrain:     func() { w.apply(s.Node, w.log[len(w.log)-1], false) },
	}
	verb, ok := verbs[s.Kind]
	if !ok {
		w.fail("nobody knows step %s on %v for %v", s.Kind, n, t)
	}
	verb()
}

func (w *world) drainAndFence(name string) {
	p := w.peers[name]
	if !p.enabled && !p.fence {
		w.fail("%s was disabled by a stranger and is fenced", name)
	}
	if p.enabled && p.received > 0 {
		w.apply(name, w.log[p.received-1], false)
	}
	p.enabled, p.fence = false, true
}

func (w *world) unfence(name string) {
	p := w.peers[name]
	if !p.fence {
		w.fail("%s is unfenced without a mark", name)
	}
	if p.mark != nil {
		w.fail("%s is unfenced with a gap mark", name)
	}
	p.enabled, p.fence = true, false
}

// letIn is what somebody does by hand, or another coordinator does that knew less.
func (w *world) letIn(name string) {
	p := w.peers[name]
	p.enabled, p.fence = true, false
	w.apply(name, w.log[len(w.log)-1], false)
}

func (w *world) clone(plan planner.Plan, s planner.Step) {
	n, t := w.peers[s.Node], w.peers[s.Target]
	lane, _ := plan.Lane(s.Target)
	if status, ok := n.slots[s.Target]; !n.clones[s.Target] && (!ok || status == "lost") {
		w.fail("%s has nothing to clone for %s", s.Node, s.Target)
	}
	if t.mark == nil {
		t.mark = &topology.GapMark{Origin: lost, From: lane.From, To: lane.To}
	}
	n.clones[s.Target] = true
}

func (w *world) subscribe(plan planner.Plan, s planner.Step) {
	n, t := w.peers[s.Node], w.peers[s.Target]
	lane, _ := plan.Lane(s.Target)
	switch {
	case !t.fence || t.enabled:
		w.fail("%s applies a gap while its worker may apply as well", s.Target)
	case t.mark == nil || t.mark.From != lane.From:
		w.fail("%s applies (%s, ...] under mark %v", s.Target, lane.From, t.mark)
	case !n.clones[s.Target]:
		w.fail("%s reads from %s without a clone", s.Target, s.Node)
	case n.progress < lane.To:
		w.fail("%s is to get %s from %s, which has only %s", s.Target, lane.To, s.Node, n.progress)
	}
	w.apply(s.Target, lane.To, true)
}

// carryRows stands for the comparison of whole tables: at its end, and not before, the
// target counts as having the gap.
func (w *world) carryRows(plan planner.Plan, s planner.Step) {
	n, t := w.peers[s.Node], w.peers[s.Target]
	lane, _ := plan.Lane(s.Target)
	if t.mark == nil {
		t.mark = &topology.GapMark{Origin: lost, From: lane.From, To: lane.To}
	}
	status, ok := n.slots[s.Target]
	switch {
	case !w.rows:
		w.fail("rows are carried without leave")
	case !t.fence || t.enabled:
		w.fail("%s gets rows while its worker may apply as well", s.Target)
	case n.progress < lane.To:
		w.fail("%s is to get the rows up to %s from %s, which has only %s", s.Target, lane.To, s.Node, n.progress)
	case n.clones[s.Target] || (ok && status != "lost"):
		w.fail("%s gets rows, although %s has the log for it", s.Target, s.Node)
	}
	w.apply(s.Target, lane.To, true)
}

// verify compares what the lanes touched, on all survivors: what a recovery
// brought to any of them in these ranges is verified.
func (w *world) verify(plan planner.Plan) {
	for _, name := range plan.Survivors {
		if got := w.peers[name].progress; got < plan.Watermark && w.memory.Confirmed[name] < plan.Watermark {
			w.fail("verify finds %s at %s, below the watermark %s", name, got, plan.Watermark)
		}
		maps.DeleteFunc(w.peers[name].carried, func(tx topology.LSN, _ bool) bool {
			return slices.ContainsFunc(plan.Lanes, func(l planner.Lane) bool { return l.From < tx && tx <= l.To })
		})
	}
}

// half is what a step leaves behind that is killed in the middle.
func (w *world) half(s planner.Step) {
	n, t := w.peers[s.Node], w.peers[s.Target]
	switch s.Kind {
	case planner.StepClone, planner.StepRows: // rows may be written already: nothing counts as applied
		if t.mark == nil {
			lsn := t.progress
			if lsn == 0 {
				lsn = w.memory.Confirmed[s.Target]
			}
			t.mark = &topology.GapMark{Origin: lost, From: lsn, To: n.progress}
		}
	case planner.StepSubscribe:
		for i, tx := range w.log {
			if tx > t.progress && tx <= n.progress && i%2 == 0 {
				w.apply(s.Target, tx, true)
				return
			}
		}
	case planner.StepRelease:
		if t.seen() && len(t.carried) == 0 {
			t.mark = nil
		}
	default:
	}
}

func (w *world) release(plan planner.Plan, s planner.Step) {
	delete(w.peers[s.Node].clones, s.Target)
	if !slices.Contains(plan.Survivors, s.Target) {
		return
	}
	t := w.peers[s.Target]
	if t.mark != nil && len(t.carried) > 0 {
		w.fail("the mark of %s is dropped with unverified transactions %v", s.Target, t.carried)
	}
	t.mark = nil
}

// run carries a plan out in some order that respects its dependencies. Before
// each step it asks stop; a stopped run is killed there. It returns whether the
// run came to its end.
func (w *world) run(plan planner.Plan, replan func() (planner.Plan, *planner.Refusal), stop func(planner.Step) bool, pick func(n int) int) bool {
	done := map[string]bool{}
	for {
		var ready []planner.Step
		for _, s := range plan.Steps {
			blocked := slices.ContainsFunc(s.After, func(id string) bool { return !done[id] })
			if !done[s.ID] && !blocked {
				ready = append(ready, s)
			}
		}
		if len(ready) == 0 {
			for _, s := range plan.Steps {
				if !done[s.ID] {
					w.fail("step %s never gets its turn", s.Kind)
				}
			}
			return true
		}
		s := ready[pick(len(ready))]
		if stop(s) {
			return false
		}
		done[s.ID] = true
		if s.Kind != planner.StepObserve {
			w.do(plan, s)
			continue
		}
		next, refusal := replan()
		if refusal != nil {
			return false
		}
		if next.ID != plan.ID || !next.Fenced {
			w.fail("behind its fences plan %s became %s, fenced: %v", plan.ID, next.ID, next.Fenced)
		}
		plan = next
	}
}

// shuffled is a copy of names in another order.
func shuffled(names []string, seed uint64) []string {
	out := slices.Clone(names)
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] }) //nolint:gosec // order only
	return out
}

func (w *world) String() string {
	s := ""
	for _, n := range w.names() {
		p := w.peers[n]
		s += fmt.Sprintf("%s up=%v progress=%s fence=%v mark=%v slots=%v clones=%v\n", n, p.up, p.progress, p.fence, p.mark, p.slots, p.clones)
	}
	return s
}
