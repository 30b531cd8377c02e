package app

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"healer/detector"
	"healer/topology"
)

// A returned node is taken back by some, and all are shut off from it once more,
// because another survivor comes back that lacks something of it: what was read from
// its slots meanwhile is no sign that somebody moved them.
func TestSightEndsWhenSomebodyReads(t *testing.T) {
	t.Parallel()
	m, err := openMemory(filepath.Join(t.TempDir(), "memory.json"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	survivor := func(name string, fenced bool) topology.NodeState {
		n := topology.NodeState{Name: name, Reachable: true, Subscriptions: []topology.Subscription{
			{Name: "from_n1", Provider: "n1", Enabled: !fenced, Worker: topology.WorkerNone},
		}}
		if fenced {
			n.Fences = []topology.Fence{{Origin: "n1", Subscription: "from_n1"}}
		}
		return n
	}
	p := newPresence()
	pass := func(end topology.LSN, n2, n3 bool) {
		p.note(situation{
			verdicts: []detector.Verdict{{Node: "n1", Life: detector.LifeReturning}, {Node: "n2", Life: detector.LifeUp}, {Node: "n3", Life: detector.LifeUp}},
			obs: topology.Observation{Nodes: []topology.NodeState{
				{Name: "n1", Reachable: true, Flushed: end}, survivor("n2", n2), survivor("n3", n3),
			}},
		}, m, time.Time{})
	}
	for i, step := range []struct {
		end    topology.LSN
		n2, n3 bool
		want   topology.LSN
	}{
		{10, true, true, 0},
		{11, true, true, 11},
		{12, true, true, 11},
		{13, false, true, 0},
		{20, true, true, 0},
		{21, true, true, 21},
		{22, false, false, 0},
	} {
		pass(step.end, step.n2, step.n3)
		if got := m.sighted("n1"); got != step.want {
			t.Errorf("pass %d: sighted at %v, want %v", i, got, step.want)
		}
	}
}
