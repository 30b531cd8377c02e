package app

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"healer/detector"
	"healer/planner"
	"healer/topology"
)

// sightings are passes over a mesh in which n2 and n3 are fenced off from n1 by
// fences of the given transactions; 0 is no fence.
type sightings struct {
	t *testing.T
	m *memory
	p *presence
}

func newSightings(t *testing.T) sightings {
	m, err := openMemory(filepath.Join(t.TempDir(), "memory.json"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return sightings{t, m, newPresence()}
}

func (s sightings) mesh(end topology.LSN, n2, n3 uint32) topology.Observation {
	survivor := func(name string, made uint32) topology.NodeState {
		n := topology.NodeState{Name: name, Reachable: true, Database: "app", Subscriptions: []topology.Subscription{
			{Name: "from_n1", Provider: "n1", Enabled: made == 0, Worker: topology.WorkerNone, Slot: "feeds_" + name},
		}}
		if made != 0 {
			n.Fences = []topology.Fence{{
				Origin: "n1", Subscription: "from_n1", Mark: "healer:fence:" + name, Made: made, Identity: topology.Identity{SystemID: 1, Timeline: 1},
			}}
		}
		return n
	}
	n1 := topology.NodeState{Name: "n1", Reachable: true, Flushed: end, Identity: topology.Identity{SystemID: 1, Timeline: 1}}
	for _, to := range []string{"n2", "n3"} {
		// As a slot stands whose survivor has read all of the log.
		n1.Slots = append(n1.Slots, topology.Slot{Kind: topology.SlotMesh, To: to, Name: "feeds_" + to, Restart: end - 5, Confirmed: end - 1})
	}
	return topology.Observation{Cluster: "app", Nodes: []topology.NodeState{n1, survivor("n2", n2), survivor("n3", n3)}}
}

func (s sightings) pass(obs topology.Observation) {
	s.m.learn("n1", topology.Memory{Identity: topology.Identity{SystemID: 1, Timeline: 1}})
	s.p.note(situation{
		verdicts: []detector.Verdict{{Node: "n1", Life: detector.LifeReturning}, {Node: "n2", Life: detector.LifeUp}, {Node: "n3", Life: detector.LifeUp}},
		obs:      obs,
	}, s.m, time.Time{})
}

// What was read of a returned node counts for the fence it was read behind, from the
// pass after the one that saw the fence first, and for each survivor by itself.
func TestSightBelongsToTheFence(t *testing.T) {
	t.Parallel()
	s := newSightings(t)
	for i, step := range []struct {
		end          topology.LSN
		n2, n3       uint32
		want2, want3 topology.LSN
		behind2      uint32
	}{
		{end: 10, n2: 7, n3: 8}, // the fences may be younger than this reading of n1
		{end: 11, n2: 7, n3: 8, want2: 11, want3: 11, behind2: 7},
		{end: 12, n2: 7, n3: 8, want2: 11, want3: 11, behind2: 7},
		{end: 20, n2: 9, n3: 8, want2: 11, want3: 11, behind2: 7}, // lifted and put up again, unseen
		{end: 21, n2: 9, n3: 8, want2: 21, want3: 11, behind2: 9},
		{end: 22, n2: 0, n3: 8, want2: 21, want3: 11, behind2: 9},
	} {
		s.pass(s.mesh(step.end, step.n2, step.n3))
		got := s.m.sighted("n1")
		if got["n2"].End != step.want2 || got["n3"].End != step.want3 || got["n2"].Made != step.behind2 {
			t.Errorf("pass %d: sighted %+v, want %+v", i, got, step)
		}
	}
}

// An agent that does not act sees a node come back, and looks away while it is taken
// back, read from, lost and fenced off once more. What it saw before refuses nothing
// when the agent has to act.
func TestStaleSightRefusesNothing(t *testing.T) {
	t.Parallel()
	s := newSightings(t)
	s.pass(s.mesh(10, 7, 8))
	s.pass(s.mesh(11, 7, 8))
	later := s.mesh(900, 9, 10)
	s.pass(later)
	trigger := s.p.complete(planner.Trigger{Kind: planner.Rejoin, Node: "n1"}, s.m, 0, time.Time{})
	if _, refusal := planner.Make(trigger, later, planner.Policy{Mode: planner.ModeAuto}); refusal != nil {
		t.Errorf("refused: %v", refusal)
	}
	// The fences it did see stand: slots beyond what it saw have been moved.
	moved := s.mesh(900, 7, 8)
	if _, refusal := planner.Make(trigger, moved, planner.Policy{Mode: planner.ModeAuto}); refusal == nil || refusal.Reason != planner.SlotRecreated {
		t.Errorf("not refused as slot_recreated: %v", refusal)
	}
}
