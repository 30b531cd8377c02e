package app

import (
	"slices"
	"testing"
	"time"

	"healer/detector"
	"healer/planner"
	"healer/topology"
)

// Of several losses those follow whose recovery is about to fence the survivors off: what
// waits for any other might wait for ever.
func TestFollowingRecoveries(t *testing.T) {
	t.Parallel()
	lost := func(node string) detector.Verdict {
		return detector.Verdict{Node: node, Life: detector.LifeFailed, Incarnation: node}
	}
	up := func(node string) detector.Verdict { return detector.Verdict{Node: node, Life: detector.LifeUp} }
	fenced := topology.Observation{Nodes: []topology.NodeState{{Name: "n1", Reachable: true, Fences: []topology.Fence{{Origin: "n4"}}}}}
	auto := planner.Policy{Mode: planner.ModeAuto}
	for name, c := range map[string]struct {
		verdicts []detector.Verdict
		pol      planner.Policy
		refused  string
		failing  string
		want     []string
	}{
		"nobody is lost":             {[]detector.Verdict{up("n1"), up("n2")}, auto, "", "", nil},
		"two are":                    {[]detector.Verdict{up("n1"), lost("n2"), lost("n3")}, auto, "", "", []string{"n2", "n3"}},
		"a return is no loss":        {[]detector.Verdict{up("n1"), lost("n2"), up("n4")}, auto, "", "", []string{"n2"}},
		"one is refused":             {[]detector.Verdict{lost("n2"), lost("n3")}, auto, "n2", "", []string{"n3"}},
		"one has just failed":        {[]detector.Verdict{lost("n2"), lost("n3")}, auto, "", "n3", []string{"n2"}},
		"an earlier loss has failed": {[]detector.Verdict{lost("n2")}, auto, "", "n2.1", []string{"n2"}},
		"one is under maintenance":   {[]detector.Verdict{lost("n2"), lost("n3")}, planner.Policy{Mode: planner.ModeAuto, Maintenance: []string{"n2"}}, "", "", []string{"n3"}},
		"Healer is paused":           {[]detector.Verdict{lost("n2")}, planner.Policy{Mode: planner.ModeAuto, Paused: true}, "", "", nil},
		"the recovery is cancelled":  {[]detector.Verdict{lost("n2")}, planner.Policy{Mode: planner.ModeAuto, Cancelled: true}, "", "", nil},
		"an operator has to approve": {[]detector.Verdict{lost("n2")}, planner.Policy{Mode: planner.ModeAdvise}, "", "", nil},
		"nothing is ever done":       {[]detector.Verdict{lost("n2")}, planner.Policy{Mode: planner.ModeObserve}, "", "", nil},
	} {
		tries := newAttempts(time.Now)
		if c.failing != "" {
			tries.failed(planner.Trigger{Kind: planner.Recovery, Node: c.failing[:2], Incarnation: c.failing}.PlanID("app"), true)
		}
		v := newView()
		v.refuse(planner.Plan{Node: c.refused}, &planner.Refusal{Reason: planner.NoMajority}, time.Now())
		s := situation{verdicts: c.verdicts, obs: fenced}
		got := following(s.triggers(func(string) topology.Memory { return topology.Memory{} }), func(t planner.Trigger) bool {
			return mayBegin("app", t, c.pol, v, tries)
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
