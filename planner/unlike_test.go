package planner_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"healer/planner"
	"healer/topology"
)

// writer is a server that others read from, and what they have applied of it, while an
// agent looks at them one by one.
type writer struct {
	t    *rapid.T
	node topology.NodeState
	// read is, by reader, its progress.
	read map[string]topology.LSN

	memory topology.Memory
	before topology.Observation
}

func newWriter(t *rapid.T) *writer {
	return &writer{
		t: t, read: map[string]topology.LSN{"r1": 0, "r2": 0, "r3": 0},
		node: topology.NodeState{
			Name: "w", Reachable: true, Flushed: 0x100, Checkpoint: 0x80, Identity: topology.Identity{SystemID: 1, Timeline: 1, StartedAt: 1},
		},
	}
}

func (w *writer) readers() []string { return []string{"r1", "r2", "r3"} }

// most is the furthest that anybody has applied.
func (w *writer) most() (lsn topology.LSN) {
	for _, p := range w.read {
		lsn = max(lsn, p)
	}
	return lsn
}

func (w *writer) between(what string, from, to topology.LSN) topology.LSN {
	return topology.LSN(rapid.Uint64Range(uint64(from), uint64(to)).Draw(w.t, what))
}

// happens lets things happen, as they do to a server that loses nothing that it has sent.
func (w *writer) happens() {
	for range rapid.IntRange(0, 3).Draw(w.t, "things") {
		switch what := rapid.SampledFrom([]string{"write", "write", "apply", "apply", "checkpoint", "restart", "promote"}).Draw(w.t, "what"); what {
		case "write":
			w.node.Flushed += w.between("bytes", 1, 0x40)
		case "apply":
			r := rapid.SampledFrom(w.readers()).Draw(w.t, "who")
			w.read[r] = w.between(r, min(w.read[r], w.node.Flushed), w.node.Flushed)
		case "checkpoint":
			w.node.Checkpoint = w.node.Flushed
			w.node.Flushed++
		case "restart":
			w.start(w.node.Flushed)
		case "promote": // a standby that has all that anybody had applied
			end := w.between("switch", w.most(), w.node.Flushed)
			w.node.Forks = append(slices.Clone(w.node.Forks), topology.Fork{Timeline: w.node.Identity.Timeline, SwitchLSN: end})
			w.node.Identity.Timeline++
			w.node.Identity.StartedAt++
			w.node.Checkpoint, w.node.Flushed = min(w.node.Checkpoint, end), end+1
		}
	}
}

// start begins another life with a log that ends there.
func (w *writer) start(end topology.LSN) {
	w.node.Identity.StartedAt++
	w.node.Checkpoint, w.node.Flushed = end, end+1
}

// observe reads all in any order while things happen, and as the engine does the end of the
// log at last, where it seems to be before what was applied.
func (w *writer) observe(happens func()) topology.Observation {
	states := map[string]topology.NodeState{}
	for _, name := range rapid.Permutation(append(w.readers(), "w")).Draw(w.t, "order") {
		happens()
		states[name] = w.node
		if p, reads := w.read[name]; reads {
			states[name] = topology.NodeState{Name: name, Reachable: true, Subscriptions: []topology.Subscription{
				{Name: "from_w", ID: 7, Provider: "w", Enabled: true, Progress: p},
			}}
		}
	}
	happens()
	node := states["w"]
	for _, r := range w.readers() {
		if sub, _ := states[r].From("w"); sub.Progress > node.Flushed && node.Reachable {
			node.Flushed, node.Reachable = w.node.Flushed, w.node.Identity == node.Identity
		}
	}
	return topology.Observation{Cluster: "app", Nodes: []topology.NodeState{states["r1"], states["r2"], states["r3"], node}}
}

// look is what an agent does with an observation: it suspects, or learns.
func (w *writer) look(o topology.Observation) *planner.Refusal {
	w.memory.Rewound = planner.Rewound("w", o, w.memory)
	found := planner.Unlike("w", o, w.memory)
	if n, _ := o.Node("w"); found == nil && n.Reachable {
		w.memory.Identity = n.Identity
		w.memory.Applied = planner.MergeApplied(w.memory.Applied, planner.AppliedOf("w", w.before, o))
	}
	w.before = o
	return found
}

// sane is a look that finds nothing.
func (w *writer) sane(happens func()) {
	w.t.Helper()
	if r := w.look(w.observe(happens)); r != nil {
		w.t.Fatalf("%s: %s", r.Reason, r.Why)
	}
}

// Nothing is found about a server that has lost nothing which it has sent, whatever happens
// while it and the others are read, in whatever order.
func TestNobodyIsSuspectedInVain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWriter(t)
		for range rapid.IntRange(1, 20).Draw(t, "passes") {
			w.sane(w.happens)
		}
	})
}

// A server that lost what an agent has seen applied is found, however much it has written
// and others have applied since, before its next checkpoint; and stays found after that.
func TestWhoWentBackIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWriter(t)
		for range rapid.IntRange(0, 5).Draw(t, "passes") {
			w.sane(w.happens)
		}
		w.node.Flushed += 0x10
		for r := range w.read {
			w.read[r] = w.node.Flushed
		}
		quiet := func() {}
		w.sane(quiet)
		w.sane(quiet)
		lost, forks := w.most(), rapid.Bool().Draw(t, "on a timeline of its own")
		end := w.between("restored to", 1, lost-1)
		if forks {
			w.node.Forks = append(w.node.Forks, topology.Fork{Timeline: w.node.Identity.Timeline, SwitchLSN: end})
			w.node.Identity.Timeline++
		}
		w.start(end)
		want := planner.BehindWatermark
		if forks {
			want = planner.TimelineForked
		}
		for i := range rapid.IntRange(1, 5).Draw(t, "looks") {
			if rapid.Bool().Draw(t, "it grows") {
				w.node.Flushed = max(w.node.Flushed, lost) + w.between("bytes", 1, 0x100)
				r := rapid.SampledFrom(w.readers()).Draw(t, "who")
				w.read[r] = w.between(r, w.read[r], w.node.Flushed)
			}
			if i > 0 && rapid.Bool().Draw(t, "checkpoint") {
				w.node.Checkpoint = w.node.Flushed
			}
			if r := w.look(w.observe(quiet)); r == nil || r.Reason != want {
				t.Fatalf("look %d finds %+v", i, r)
			}
		}
	})
}

// What was found is forgotten of another server, and when nobody reads any more as before.
func TestWhatWasFoundIsForgotten(t *testing.T) {
	t.Parallel()
	id := topology.Identity{SystemID: 1, Timeline: 1, StartedAt: 2}
	mesh := func(id topology.Identity, sub uint32) topology.Observation {
		return topology.Observation{Nodes: []topology.NodeState{
			{Name: "r1", Reachable: true, Subscriptions: []topology.Subscription{{Provider: "w", ID: sub, Progress: 5}}},
			{Name: "w", Reachable: true, Identity: id, Flushed: 10},
		}}
	}
	m := topology.Memory{Rewound: &topology.Rewound{Identity: id, Why: "it was", Readers: map[string]uint32{"r1": 7}}}
	for name, c := range map[string]struct {
		obs  topology.Observation
		want bool
	}{
		"as it was":            {mesh(id, 7), true},
		"in another life":      {mesh(topology.Identity{SystemID: 1, Timeline: 1, StartedAt: 9}, 7), true},
		"another server":       {mesh(topology.Identity{SystemID: 2, Timeline: 1, StartedAt: 2}, 7), false},
		"another subscription": {mesh(id, 8), false},
	} {
		if got := planner.Rewound("w", c.obs, m) != nil; got != c.want {
			t.Errorf("%s: found is %t", name, got)
		}
	}
}
