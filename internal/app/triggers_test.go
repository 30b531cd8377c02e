package app

import (
	"slices"
	"testing"

	"healer/detector"
	"healer/planner"
	"healer/topology"
)

// What is asked for about one node in its losses and returns has one id each: of every
// agent, and also when half is done; and never that of another, or events of the later
// would be taken for told.
func TestPlansOfOneNode(t *testing.T) {
	t.Parallel()
	ids, names := map[string]string{}, map[string]string{}
	for _, c := range []struct {
		life        detector.Life
		incarnation string
		fenced      []string
		// owed is the life of n1 whose gap was carried while the node was away.
		owed string
		// plan names what is asked for; first, the recovery that comes before it if that
		// is not complete. Nothing is asked for when they are empty.
		plan, first string
	}{
		{life: detector.LifeFailed, incarnation: "a.1", plan: "recovery 1", first: "recovery 1"},
		{life: detector.LifeFailed, incarnation: "a.1", fenced: []string{"n1", "n2"}, plan: "recovery 1", first: "recovery 1"},
		{life: detector.LifeReturning, incarnation: "a.1", fenced: []string{"n1", "n2"}, plan: "rejoin 1", first: "recovery 1"},
		{life: detector.LifeReturning, incarnation: "a.1", fenced: []string{"n2"}, plan: "rejoin 1", first: "recovery 1"},
		{life: detector.LifeUp, incarnation: "a.2"},
		// Fences that were not up yet when the node was admitted.
		{life: detector.LifeUp, incarnation: "a.2", fenced: []string{"n1", "n2"}, plan: "left 1", first: "recovery left 1"},
		{life: detector.LifeUp, incarnation: "a.2", fenced: []string{"n1"}, plan: "left 1", first: "recovery left 1"},
		{life: detector.LifeUp, incarnation: "a.2", owed: "c.5", plan: "left 1 of 5", first: "recovery left 1 of 5"},
		{life: detector.LifeUp, incarnation: "a.2", fenced: []string{"n1"}, owed: "c.5", plan: "left 1 of 5", first: "recovery left 1 of 5"},
		{life: detector.LifeUp, incarnation: "a.2", owed: "c.6", plan: "left 1 of 6", first: "recovery left 1 of 6"},
		{life: detector.LifeFailed, incarnation: "a.2", fenced: []string{"n1"}, plan: "recovery 2", first: "recovery 2"},
		{life: detector.LifeReturning, incarnation: "a.2", fenced: []string{"n1", "n2"}, plan: "rejoin 2", first: "recovery 2"},
		{life: detector.LifeUp, incarnation: "b.3", fenced: []string{"n2"}, plan: "left 2", first: "recovery left 2"},
	} {
		obs := topology.Observation{Cluster: "app"}
		for _, name := range []string{"n1", "n2"} {
			n := topology.NodeState{Name: name, Reachable: true}
			if slices.Contains(c.fenced, name) {
				n.Fences = []topology.Fence{{Origin: "n3"}}
			}
			if c.owed != "" {
				n.Owed = []topology.Owed{{Node: "n3", Origin: "n1"}}
			}
			obs.Nodes = append(obs.Nodes, n)
		}
		for _, self := range []string{"n1", "n2", "n3"} {
			s := situation{self: self, obs: obs, verdicts: []detector.Verdict{
				{Node: "n1", Life: detector.LifeUp, Incarnation: c.owed},
				{Node: "n2", Life: detector.LifeUp},
				{Node: "n3", Life: c.life, Incarnation: c.incarnation},
			}}
			asked := s.triggers(nothing)
			if c.plan == "" {
				if len(asked) > 0 {
					t.Errorf("%+v: %s sees something to do: %+v", c, self, asked)
				}
				continue
			}
			if len(asked) != 1 {
				t.Fatalf("%+v: %s sees %d plans, want one", c, self, len(asked))
			}
			first := asked[0]
			first.Kind = planner.Recovery
			for name, id := range map[string]string{c.plan: asked[0].PlanID("app"), c.first: first.PlanID("app")} {
				if had, ok := ids[name]; ok && had != id {
					t.Errorf("%+v: to %s the %s has another id than before", c, self, name)
				}
				if had, ok := names[id]; ok && had != name {
					t.Errorf("%+v: to %s the %s has the id of the %s", c, self, name, had)
				}
				ids[name], names[id] = id, name
			}
		}
	}
}

// All nodes were judged failed one after the other, as on a machine that stood still, and
// all are back and wait to be taken back at once: some are fenced off from others, or
// each from all. They let one another in, one by one, and nobody waits for ever.
func TestAllNodesReturnAtOnce(t *testing.T) {
	t.Parallel()
	names := []string{"n1", "n2", "n3", "n4", "n5"}
	for name, fenced := range map[string]func(on, from string) bool{
		"nobody is fenced off":           func(string, string) bool { return false },
		"some are":                       func(on, from string) bool { return from == "n1" || from == "n4" && on != "n1" },
		"each of the first from a later": func(on, from string) bool { return on < from },
		"each from all":                  func(string, string) bool { return true },
	} {
		s := situation{agents: names, obs: topology.Observation{Cluster: "app"}}
		for i, on := range names {
			id := topology.Identity{SystemID: uint64(i + 1), Timeline: 1}
			n := topology.NodeState{Name: on, Reachable: true, Engine: "native", Identity: id, Version: 160000, Flushed: 100}
			for j, from := range names {
				if from == on {
					continue
				}
				sub := topology.Subscription{
					Name: "sub_" + on + "_from_" + from, Provider: from, Slot: "sub_" + on + "_from_" + from,
					Enabled: !fenced(on, from), Progress: 90, Worker: topology.WorkerNone,
				}
				n.Subscriptions = append(n.Subscriptions, sub)
				if !sub.Enabled {
					n.Fences = append(n.Fences, topology.Fence{
						Subscription: sub.Name, Origin: from, Identity: topology.Identity{SystemID: uint64(j + 1), Timeline: 1},
					})
				}
				n.Slots = append(n.Slots, topology.Slot{
					Name: "sub_" + from + "_from_" + on, Kind: topology.SlotMesh, Plugin: "pgoutput", To: from, WALStatus: "reserved", Confirmed: 80, Restart: 80,
				})
			}
			s.obs.Nodes = append(s.obs.Nodes, n)
			s.verdicts = append(s.verdicts, detector.Verdict{Node: on, Life: detector.LifeReturning, Incarnation: "a.0", Episode: 0})
		}
		for passes := 0; len(s.verdicts) > 0; passes++ {
			if passes > len(names) {
				t.Fatalf("%s: %v still wait", name, s.verdicts)
			}
			pass(t, name, &s)
		}
	}
}

// nothing is what an agent remembers that was just installed.
func nothing(string) topology.Memory { return topology.Memory{} }

// pass does what the agents do in one pass: each admits whom nobody fences off, and the
// one that acts carries out its plans.
func pass(t *testing.T, name string, s *situation) {
	t.Helper()
	acts := 0
	for _, s.self = range s.agents {
		if s.coordinates(nothing) {
			acts++
		}
	}
	if acts != 1 {
		t.Errorf("%s: %d agents act", name, acts)
	}
	admitted := s.admissible(nothing)
	s.verdicts = slices.DeleteFunc(s.verdicts, func(v detector.Verdict) bool { return slices.Contains(admitted, v.Node) })
	for _, asked := range s.triggers(nothing) {
		p, refusal := planner.Make(asked, s.obs, planner.Policy{Mode: planner.ModeAuto})
		if refusal != nil {
			t.Fatalf("%s: %s is refused: %s: %s", name, asked.Node, refusal.Reason, refusal.Why)
		}
		for _, step := range p.Steps {
			if step.Kind != planner.StepUnfence {
				continue
			}
			i := slices.IndexFunc(s.obs.Nodes, func(n topology.NodeState) bool { return n.Name == step.Node })
			n := &s.obs.Nodes[i]
			n.Fences = slices.DeleteFunc(n.Fences, func(f topology.Fence) bool { return f.Origin == asked.Node })
			for j := range n.Subscriptions {
				n.Subscriptions[j].Enabled = n.Subscriptions[j].Enabled || n.Subscriptions[j].Provider == asked.Node
			}
		}
		if len(p.Steps) == 0 {
			t.Errorf("%s: nothing is planned for %s", name, asked.Node)
		}
	}
}
