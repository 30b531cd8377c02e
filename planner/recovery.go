package planner

import (
	"slices"

	"healer/topology"
)

// makeRecovery plans what the loss of a node asks for.
//
// Invariants of the plan:
//   - no step acts on a lost node, or on one that could not be read;
//   - progress is trusted only behind fences: until all are in place, Fenced is
//     false and everything after the observe step is an estimate;
//   - a lane carries (From, To], and To never exceeds what its source applied;
//   - a gap mark is released only after a verify step that covers its rows;
//   - when every survivor is fenced and holds the watermark, and no gap mark
//     and no clone is left, the plan is empty.
func makeRecovery(p Plan, t Trigger, obs topology.Observation, pol Policy) (Plan, *Refusal) {
	nodes, refusal := alive(t, obs)
	if refusal != nil {
		return p, refusal
	}
	all, refusal := survivors(t, nodes)
	if refusal != nil {
		return p, refusal
	}
	lost := slices.Contains(t.Lost, t.Node)
	if refusal := whoIsLeft(t, obs, pol, nodes, all, lost); refusal != nil {
		return p, refusal
	}
	p.Fenced = !slices.ContainsFunc(all, func(s survivor) bool { return !s.fenced })
	for _, s := range all {
		p.Survivors = append(p.Survivors, s.Name)
		// What somebody has applied, not what somebody confirmed: a position
		// that no transaction ends at is nobody's to carry.
		p.Watermark = max(p.Watermark, s.sub.Progress)
	}
	for _, s := range all {
		if p.Watermark > 0 && !s.known {
			return p, refuse(ProgressUnknown, s.Name, rebuild(s.Name),
				"%s has applied nothing of %s, and nobody remembers up to where it had confirmed: its gap has no beginning",
				s.Name, t.Node).wait(!p.Fenced)
		}
	}
	p, bare, refusal := planLanes(p, all)
	if refusal != nil {
		return p, refusal
	}
	return recoverySteps(p, all, releases(p, nodes, bare)), nil
}

// whoIsLeft refuses a recovery that nobody could run, or that nobody needs.
func whoIsLeft(t Trigger, obs topology.Observation, pol Policy, nodes []topology.NodeState, all []survivor, lost bool) *Refusal {
	marked := slices.ContainsFunc(all, func(s survivor) bool { return s.mark != nil })
	open := slices.ContainsFunc(all, func(s survivor) bool { return !s.fenced })
	// A node that came back in the middle of its recovery does not stop it.
	// Behind the fences its being alive changes nothing, and the rows which
	// the gap touched are compared before the node brings newer ones. Without
	// fences or marks there is no recovery to finish.
	if !lost && !marked && (open || len(all) == 0) {
		return refuse(NodeAlive, t.Node, "healer status", "%s is not judged lost: there is nothing to recover", t.Node)
	}
	voters := len(nodes)
	if !lost {
		voters++
	}
	switch {
	case len(nodes) == 0:
		return refuse(NoSurvivors, "", "start the other nodes", "no node of cluster %s is left but %s itself", obs.Cluster, t.Node).wait(true)
	case len(nodes) == 1 && (lost || !marked):
		return refuse(SoleSurvivor, nodes[0].Name, "start the other nodes, then: healer status",
			"%s is the only node left: no other holds anything it could lack", nodes[0].Name).wait(true)
	case !pol.quorate(voters, len(obs.Nodes)):
		return refuse(NoMajority, "", "start the other nodes, or set detection.quorum: half",
			"%d of %d configured nodes are alive: too few to be sure that it is not these that are cut off",
			voters, len(obs.Nodes)).wait(true)
	}
	return nil
}
