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
		owed        bool
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
		{life: detector.LifeUp, incarnation: "a.2", owed: true, plan: "left 1", first: "recovery left 1"},
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
			if c.owed {
				n.Owed = []topology.Owed{{Node: "n3", Origin: "n1"}}
			}
			obs.Nodes = append(obs.Nodes, n)
		}
		for _, self := range []string{"n1", "n2", "n3"} {
			s := situation{self: self, obs: obs, verdicts: []detector.Verdict{
				{Node: "n1", Life: detector.LifeUp},
				{Node: "n2", Life: detector.LifeUp},
				{Node: "n3", Life: c.life, Incarnation: c.incarnation},
			}}
			asked := s.triggers(func(string) topology.Memory { return topology.Memory{} })
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
