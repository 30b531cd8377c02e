package planner

import (
	"fmt"
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
//   - a gap mark is released only after a verify step that covers its rows, and not
//     while a node that was left out of it may still turn out to live;
//   - when every survivor is fenced and holds the watermark, and no gap mark
//     and no clone is left, the plan is empty.
func makeRecovery(p Plan, t Trigger, obs topology.Observation, pol Policy) (Plan, *Refusal) {
	nodes, refusal := alive(t, obs, t.Silent)
	if refusal != nil {
		return p, refusal
	}
	all, refusal := survivors(t, nodes)
	if refusal != nil {
		return p, refusal
	}
	lost := slices.Contains(t.Lost, t.Node)
	f, _ := obs.Node(t.Node)
	out := shutOut(f, nodes, obs, t.Memory)
	gone := out != nil && !out.Wait // it lives, and what the others were reading from is lost
	if refusal := whoIsLeft(t, obs, pol, nodes, all, gone); refusal != nil {
		return p, refusal
	}
	for _, name := range t.Silent {
		if n, ok := obs.Node(name); ok && !n.Reachable && name != t.Node && !slices.Contains(t.Lost, name) {
			p.Absent = append(p.Absent, name)
		}
	}
	slices.Sort(p.Absent)
	p.Fenced = !slices.ContainsFunc(all, func(s survivor) bool { return !s.fenced })
	for _, s := range all {
		p.Survivors = append(p.Survivors, s.Name)
		// What somebody has applied, not what somebody confirmed: a position
		// that no transaction ends at is nobody's to carry.
		p.Watermark = max(p.Watermark, s.sub.Progress)
	}
	if gone {
		p.Because = out.Why
		t.Held = "" // what it sends must not be applied any longer
	} else {
		p.Unsent = Unsent(t.Node, t.Lost, obs, t.Memory)
	}
	if refusal := undisturbed(p, t, all); refusal != nil {
		return p, refusal
	}
	if refusal := pol.Only.fits(p, all); refusal != nil {
		return p, refusal
	}
	if len(nodes) == 1 && lost {
		return soleSurvivor(p, nodes, all)
	}
	p.Unsettled = unsettled(t, all)
	healed, bare, obstacle := planLanes(p, all, pol)
	if obstacle == nil {
		healed.Uncompared = uncompared(healed, bare)
		return recoverySteps(healed, all, releases(healed, nodes, bare)), nil
	}
	if p.Fenced {
		return p, obstacle
	}
	p.Foreseen = obstacle
	return recoverySteps(p, all, nil), nil
}

// uncompared are those of the bare survivors whose rows the lanes of others do not cover.
// A survivor to which nothing was carried has nothing to compare, as far as transactions
// go: they count with the rows. Rows that stand in for transactions count when all of
// them are there, and whether any are the mark does not tell.
func uncompared(p Plan, bare []survivor) (out []Uncompared) {
	for _, s := range bare {
		u := Uncompared{Node: s.Name, Remedy: "healer verify compares the tables of the nodes that are left; healer verify --repair makes them equal"}
		switch {
		case s.sub.Progress <= s.mark.From:
			u.Why = fmt.Sprintf("the node is lost from which %s was to get (%s, %s] of %s, and no other has any of it. No transaction of it had come across; "+
				"if rows were being carried in place of transactions, which of them did is not known", s.Name, s.mark.From, s.mark.To, p.Node)
		case len(p.Lanes) == 0:
			u.Why = fmt.Sprintf("the node is lost from which %s got (%s, %s] of %s, and no other is there to compare with: "+
				"whether its rows are as they were there is not known", s.Name, s.mark.From, s.sub.Progress, p.Node)
		default:
			continue
		}
		out = append(out, u)
	}
	return out
}

// unsettled are the lost nodes that some survivor still reads from, as soon as they
// live, and whose own recovery is about to end that. A laggard may have received and
// skipped what they did to rows of the gap that it lacked, and the source may get that
// only when they turn out to live.
func unsettled(t Trigger, all []survivor) []string {
	var out []string
	for _, name := range t.Next {
		open := slices.ContainsFunc(all, func(s survivor) bool {
			sub, reads := s.From(name)
			return reads && sub.Enabled && !hasFence(s.NodeState, name, sub.Name)
		})
		if open && name != t.Node {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// soleSurvivor plans for the only node that is left. There is nobody it could
// lack anything from, or give anything to. It is fenced off from the lost node
// all the same: what comes back under that name has to show first that it is
// the same server. A gap mark waits until somebody is there to compare with.
func soleSurvivor(p Plan, nodes []topology.NodeState, all []survivor) (Plan, *Refusal) {
	if p.Fenced && slices.ContainsFunc(all, func(s survivor) bool { return s.mark != nil }) {
		return p, refuse(SoleSurvivor, nodes[0].Name, "start the other nodes, then: healer status",
			"%s is the only node left, and the rows that an earlier recovery of %s carried to it are not compared: nobody is left to compare them with",
			nodes[0].Name, p.Node).wait(true)
	}
	return recoverySteps(p, all, clones(p.Node, nodes)), nil
}

// undisturbed refuses to begin what somebody else is at, or what has to rest.
func undisturbed(p Plan, t Trigger, all []survivor) *Refusal {
	for _, s := range all {
		if slices.Contains(s.Applying, p.Node) {
			return refuse(RecoveryRunning, s.Name, "healer recovery history shows it; healer recovery cancel ends it",
				"another recovery of %s is running: it holds the apply lock on %s", p.Node, s.Name).wait(true)
		}
	}
	if t.Held != "" && !p.Fenced {
		return refuse(RecentlyRecovered, p.Node, "wait, or lower recovery.hold_down in the cluster file and restart the agents",
			"%s came back only a moment ago and is lost again: its recovery waits until %s", p.Node, t.Held).wait(true)
	}
	return nil
}

// whoIsLeft refuses a recovery that nobody could run, or that nobody needs.
func whoIsLeft(t Trigger, obs topology.Observation, pol Policy, nodes []topology.NodeState, all []survivor, gone bool) *Refusal {
	lost := slices.Contains(t.Lost, t.Node)
	marked := slices.ContainsFunc(all, func(s survivor) bool { return s.mark != nil })
	open := slices.ContainsFunc(all, func(s survivor) bool { return !s.fenced })
	// A node that came back in the middle of its recovery does not stop it.
	// Behind the fences its being alive changes nothing, and the rows which
	// the gap touched are compared before the node brings newer ones. Without
	// fences or marks there is no recovery to finish.
	if !lost && !gone && !marked && (open || len(all) == 0) {
		return refuse(NodeAlive, t.Node, "healer status", "%s is not judged lost: there is nothing to recover", t.Node)
	}
	voters := len(nodes)
	if !lost {
		voters++
	}
	switch {
	case len(nodes) == 0:
		return refuse(NoSurvivors, "", "start the other nodes", "no node of cluster %s is left but %s itself", obs.Cluster, t.Node).wait(true)
	case !pol.quorate(voters, len(obs.Nodes)):
		return refuse(NoMajority, "", "start the other nodes, or set detection.quorum: half",
			"%d of %d configured nodes are alive: too few to be sure that it is not these that are cut off",
			voters, len(obs.Nodes)).wait(true)
	}
	return nil
}
