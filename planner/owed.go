package planner

import (
	"fmt"
	"slices"
	"strings"

	"healer/topology"
)

// owing are the origins of the gaps whose rows have still to be compared with the node,
// sorted.
func owing(node string, read []topology.NodeState) (origins []string) {
	for _, n := range read {
		for _, o := range n.OwedTo(node) {
			origins = append(origins, o.Origin)
		}
	}
	slices.Sort(origins)
	return slices.Compact(origins)
}

// compareWith plans to compare all tables with a node that takes part again. It waits
// until nothing is on its way by other means: a survivor that lacks transactions of a lost
// node gets them in their order first.
func compareWith(p Plan, f topology.NodeState, t Trigger, read []topology.NodeState, owed []string) (Plan, *Refusal) {
	with := takingPart(f, read)
	if open := unequal(with, t.Lost); open != "" {
		return p, refuse(ComparisonWaits, f.Name, "see the refusal of the recovery in: healer status",
			"the rows of the gap of %s are to be compared with %s, and another recovery comes first: %s", strings.Join(owed, ", "), f.Name, open).wait(true)
	}
	for _, n := range with {
		if n.Name != f.Name {
			p.Survivors = append(p.Survivors, n.Name)
		}
	}
	if len(p.Survivors) == 0 {
		return p, nil
	}
	p.add(StepCompare, f.Name, "", nil, f.Name+" "+topology.WhyOwed(f.Name, owed)+": rows may differ",
		fmt.Sprintf("all rows of %s and %s are equal", f.Name, strings.Join(p.Survivors, ", ")))
	return p, nil
}

// takingPart are the nodes between which everything flows: primaries that none of them
// is fenced off from, sorted.
func takingPart(f topology.NodeState, read []topology.NodeState) (out []topology.NodeState) {
	all := append(slices.Clone(read), f)
	for _, n := range all {
		off := slices.ContainsFunc(all, func(o topology.NodeState) bool {
			_, fenced := o.FenceOf(n.Name)
			return fenced
		})
		if !off && !n.InRecovery && !rebuilding(n.Name, all) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b topology.NodeState) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// unequal says what keeps the nodes from having the same of those that they are fenced
// off from, or will be; empty when nothing does.
func unequal(with []topology.NodeState, lost []string) string {
	off := slices.Clone(lost)
	for _, n := range with {
		for _, g := range n.Gaps {
			return fmt.Sprintf("a gap of %s is open on %s", g.Origin, n.Name)
		}
		for _, fence := range n.Fences {
			off = append(off, fence.Origin)
		}
	}
	slices.Sort(off)
	for _, origin := range slices.Compact(off) {
		var at []topology.LSN
		for _, n := range with {
			sub, reads := n.From(origin)
			switch {
			case !reads:
			case sub.Enabled && slices.Contains(lost, origin):
				return fmt.Sprintf("%s is not fenced off from %s yet", n.Name, origin)
			case !sub.Enabled:
				at = append(at, sub.Progress)
			}
		}
		if len(slices.Compact(at)) > 1 {
			return fmt.Sprintf("not all have the same of %s", origin)
		}
	}
	return ""
}
