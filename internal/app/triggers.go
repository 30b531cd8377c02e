package app

import (
	"slices"
	"strings"
	"time"

	"healer/detector"
	"healer/planner"
	"healer/topology"
)

// situation is what one pass of the reconcile loop decides on. Everything in
// it is a value, so that what follows from it is a pure function.
type situation struct {
	self     string
	agents   []string
	verdicts []detector.Verdict
	obs      topology.Observation
	// at is when obs was made.
	at time.Time
}

// lives returns the node's life; unknown when there is no verdict.
func (s situation) life(node string) detector.Life {
	for _, v := range s.verdicts {
		if v.Node == node {
			return v.Life
		}
	}
	return detector.LifeUnknown
}

// lost lists the nodes that are judged lost: the failed ones, and those that
// left on purpose and do not answer.
func (s situation) lost() []string {
	var out []string
	for _, v := range s.verdicts {
		n, _ := s.obs.Node(v.Node)
		if v.Life == detector.LifeFailed || (v.Life == detector.LifeLeft && !n.Reachable) {
			out = append(out, v.Node)
		}
	}
	return out
}

// recalls is what an agent remembers of a node.
type recalls func(node string) topology.Memory

// unlike reports whether a node answers that is not the one that the others were reading
// from, whether somebody is fenced off from it or not.
func (s situation) unlike(node string, memory recalls) bool {
	return planner.Unlike(node, s.obs, memory(node)) != nil
}

// coordinates reports whether this agent is the one that acts: the first by
// name of the agents that live, those beside a node that is lost, or another than it was,
// last: with its server an agent may have gone back to what it knew. Two agents that
// see different members may both act; the lock on the laggard decides then.
func (s situation) coordinates(memory recalls) bool {
	lost := s.lost()
	for _, n := range s.obs.Nodes {
		if s.unlike(n.Name, memory) {
			lost = append(lost, n.Name)
		}
	}
	var beside, away []string
	for _, a := range s.agents {
		if slices.Contains(lost, a) {
			away = append(away, a)
		} else {
			beside = append(beside, a)
		}
	}
	slices.Sort(beside)
	slices.Sort(away)
	order := slices.Concat(beside, away)
	return len(order) > 0 && order[0] == s.self
}

// failed lists the nodes that are judged to have failed.
func failed(verdicts []detector.Verdict) []string {
	var out []string
	for _, v := range verdicts {
		if v.Life == detector.LifeFailed {
			out = append(out, v.Node)
		}
	}
	return out
}

// fenced reports whether any survivor that could be read has a fence, an open gap
// or a bar of the node.
func (s situation) fenced(node string) bool {
	return slices.ContainsFunc(s.obs.Nodes, func(n topology.NodeState) bool {
		_, fence := n.FenceOf(node)
		_, gap := n.GapOf(node)
		_, bar := n.BarOf(node)
		return fence || gap || bar
	})
}

// owed reports whether rows have still to be compared with the node.
func (s situation) owed(node string) bool {
	return slices.ContainsFunc(s.obs.Nodes, func(n topology.NodeState) bool { return len(n.OwedTo(node)) > 0 })
}

// leftover says of which losses something is left for a node that lives: of its own, or
// also of those of others. A life may see many of these.
func (s situation) leftover(node string) string {
	of := []string{node}
	for _, n := range s.obs.Nodes {
		for _, o := range n.OwedTo(node) {
			i := slices.IndexFunc(s.verdicts, func(v detector.Verdict) bool { return v.Node == o.Origin })
			if i >= 0 && !slices.Contains(of, s.verdicts[i].Incarnation) {
				of = append(of, s.verdicts[i].Incarnation)
			}
		}
	}
	slices.Sort(of[1:])
	return strings.Join(of, " ")
}

// readable reports whether every node that is not lost could be read, so that
// the absence of marks means that there are none.
func (s situation) readable() bool {
	lost := s.lost()
	return !slices.ContainsFunc(s.obs.Nodes, func(n topology.NodeState) bool {
		return !n.Reachable && !slices.Contains(lost, n.Name)
	})
}

// admissible lists the nodes that have returned and are not fenced off by
// anybody, nor are to be: they are part of the mesh again, or never ceased to be.
func (s situation) admissible(memory recalls) []string {
	if !s.readable() {
		return nil
	}
	var out []string
	for _, v := range s.verdicts {
		n, _ := s.obs.Node(v.Node)
		if v.Life == detector.LifeReturning && n.Reachable && !s.fenced(v.Node) && !s.unlike(v.Node, memory) {
			out = append(out, v.Node)
		}
	}
	return out
}

// unsent is what no survivor has, for each node that is lost or fenced off.
func (s situation) unsent(memory recalls) map[string]topology.Unsent {
	lost, out := s.lost(), map[string]topology.Unsent{}
	for _, n := range s.obs.Nodes {
		if slices.Contains(lost, n.Name) || s.fenced(n.Name) {
			out[n.Name] = planner.Unsent(n.Name, lost, s.obs, memory(n.Name))
		}
	}
	return out
}

// triggers lists what is to be planned for, losses first: a node that comes back
// may wait until the survivors are equal. A node that came back as another before anybody
// was fenced off from it asks for its return, which is refused.
func (s situation) triggers(memory recalls) []planner.Trigger {
	lost := s.lost()
	var losses, returns []planner.Trigger
	for _, v := range s.verdicts {
		t := planner.Trigger{
			Node: v.Node, Incarnation: v.Incarnation, Lost: lost, Memory: memory(v.Node),
		}
		switch {
		case v.Life == detector.LifeFailed:
			t.Kind = planner.Recovery
			losses = append(losses, t)
		case (v.Life == detector.LifeReturning || v.Life == detector.LifeUp) && s.fenced(v.Node),
			v.Life == detector.LifeUp && s.owed(v.Node), s.unlike(v.Node, memory):
			t.Kind = planner.Rejoin
			if v.Life != detector.LifeReturning {
				t.Leftover = s.leftover(v.Node)
			}
			returns = append(returns, t)
		}
	}
	return append(losses, returns...)
}
