package planner

import (
	"cmp"
	"slices"
	"strings"

	"healer/topology"
)

// planLanes chooses the sources and fills in p.Source and p.Lanes. It also
// returns the survivors whose gap mark needs no lane of its own, because the
// lanes of others cover every row that it stands for.
func planLanes(p Plan, all []survivor, pol Policy) (Plan, []survivor, *Refusal) {
	var laggards, bare []survivor
	for _, s := range all {
		if p.Watermark > 0 && !s.known {
			return p, nil, refuse(ProgressUnknown, s.Name, rebuild(s.Name),
				"%s has applied nothing of %s, and nobody remembers up to where it had confirmed: its gap has no beginning",
				s.Name, p.Node)
		}
		// A marked survivor is a laggard whatever its progress is: the rows
		// touched by its gap have not been compared yet.
		if s.mark != nil || s.holds < p.Watermark {
			laggards = append(laggards, s)
		}
	}
	ranked := rank(p, all, laggards)
	p, laggards = pol.Only.targets(p, laggards)
	for _, target := range laggards {
		from, to := target.holds, newestOf(ranked, target.Name)
		if target.mark != nil {
			from = min(from, target.mark.From)
		}
		if from >= to {
			// Only for the one survivor that has the watermark, when the source
			// it came from died: nobody else holds a part of its gap. Those who
			// lack it have lanes from this survivor over all of it.
			bare = append(bare, target)
			continue
		}
		lane, refusal := planLane(p, pol.Only.sources(ranked, target), target, from, to, pol.Rows)
		if refusal != nil {
			return p, nil, refusal
		}
		p.Lanes = append(p.Lanes, lane)
	}
	if len(p.Lanes) > 0 {
		p.Source = pol.Only.sources(ranked, survivor{})[0].Name
	}
	return p, bare, nil
}

// rank orders the survivors as sources: by progress; then those who can serve
// most of the laggards; then those whose own rows are not in doubt; then by
// name.
func rank(p Plan, all, laggards []survivor) []survivor {
	serves := func(s survivor) (n int) {
		for _, t := range laggards {
			if t.Name == s.Name {
				continue
			}
			if _, in := route(p.Node, s, t); in == nil {
				n++
			}
		}
		return n
	}
	doubt := func(s survivor) int {
		if s.mark != nil {
			return 1
		}
		return 0
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b survivor) int {
		return cmp.Or(
			cmp.Compare(b.sub.Progress, a.sub.Progress),
			cmp.Compare(serves(b), serves(a)),
			cmp.Compare(doubt(a), doubt(b)),
			strings.Compare(a.Name, b.Name),
		)
	})
	return out
}

// newestOf is the highest progress of any survivor but target.
func newestOf(ranked []survivor, target string) topology.LSN {
	for _, s := range ranked {
		if s.Name != target {
			return s.sub.Progress
		}
	}
	return 0
}

// planLane picks the first source in rank that holds everything up to to and
// has a slot to read it from. When none has, the rows of the first that lacks no
// more than the log may stand in for it.
func planLane(p Plan, ranked []survivor, target survivor, from, to topology.LSN, rows bool) (Lane, *Refusal) {
	var first *Refusal
	var instead *Lane
	for _, s := range ranked {
		if s.Name == target.Name || s.sub.Progress < to {
			continue
		}
		lane, in := route(p.Node, s, target)
		if in == nil {
			lane.From, lane.To = from, to
			return lane, nil
		}
		if rows && instead == nil && in.logless() {
			// The tables have to fit as well as for transactions.
			if in = decodes(p.Node, s, target, ""); in == nil {
				instead = &Lane{Target: target.Name, Source: s.Name, Rows: true, From: from, To: to}
				continue
			}
		}
		if first == nil {
			first = refuse(in.reason, in.node, in.remedy, "%s lacks (%s, %s] of %s, which %s holds, but %s",
				target.Name, from, to, p.Node, s.Name, in.why)
		}
	}
	if instead != nil {
		return *instead, nil
	}
	return Lane{}, first
}

// released is a clone to drop on node, and a gap mark to drop on target when
// the target takes part.
type released struct{ node, target string }

// releases lists what must be gone in the end: the lanes' clones and marks,
// marks without a lane, and clones that earlier runs left anywhere, be it for a
// node that is lost by now.
func releases(p Plan, nodes []topology.NodeState, bare []survivor) []released {
	// What a laggard that is left so needs stays.
	out := slices.DeleteFunc(clones(p.Node, nodes), func(r released) bool { return slices.Contains(p.Left, r.target) })
	for _, l := range p.Lanes {
		if len(p.Unsettled) > 0 { // the mark stays, and with it what the next run reads
			out = slices.DeleteFunc(out, func(r released) bool { return r.target == l.Target })
			continue
		}
		out = append(out, released{l.Source, l.Target})
	}
	for _, s := range bare {
		out = append(out, released{s.Name, s.Name})
	}
	slices.SortFunc(out, func(a, b released) int {
		return cmp.Or(strings.Compare(a.target, b.target), strings.Compare(a.node, b.node))
	})
	return slices.Compact(out)
}

// clones lists the clones of origin's recoveries on the nodes.
func clones(origin string, nodes []topology.NodeState) []released {
	var out []released
	for _, n := range nodes {
		for _, s := range n.Slots {
			if s.Kind == topology.SlotClone && s.Origin == origin {
				out = append(out, released{n.Name, s.To})
			}
		}
	}
	return out
}
