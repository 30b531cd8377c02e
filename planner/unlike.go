package planner

import (
	"maps"
	"slices"

	"healer/topology"
)

// Unlike refuses a node that can be read and is not the one that others were reading from,
// by what is remembered of it and what they have applied: it was replaced, or goes on from
// an older state, and came back before anybody was fenced off from it. Nil when nothing
// shows that. What is not known, or was not read, shows nothing.
//
// The end of the node's log must not have been read before the others' progress, as it is
// not in an observation of the whole mesh.
func Unlike(node string, obs topology.Observation, m topology.Memory) *Refusal {
	f, _ := obs.Node(node)
	if !f.Reachable || f.InRecovery || !f.Identity.Known() || rebuilding(node, obs.Nodes) {
		return nil
	}
	if refusal := forked(f, obs, m); refusal != nil {
		return refusal
	}
	if r := Rewound(node, obs, m); r != nil {
		return refuse(BehindWatermark, node, replace(node), "%s", r.Why)
	}
	return nil
}

// forked refuses another server, and one on a timeline without what was applied of the one
// before: all who would tell still have the subscription that had applied it.
func forked(f topology.NodeState, obs topology.Observation, m topology.Memory) *Refusal {
	was := m.Identity
	for _, r := range knowing(f.Name, obs, m) {
		has := m.Applied[r.Name].LSN
		if was.SystemID != f.Identity.SystemID {
			return refuse(IdentityChanged, f.Name, rebuild(f.Name),
				"%s has system identifier %d, but %s was reading from %d: it is another server and its LSNs mean nothing here",
				f.Name, f.Identity.SystemID, r.Name, was.SystemID)
		}
		if was.Timeline == f.Identity.Timeline {
			continue
		}
		left, ok := leftAt(f.Forks, was.Timeline)
		switch {
		case ok && left < has:
			return refuse(TimelineForked, f.Name, replace(f.Name),
				"%s left timeline %d at %s, below %s up to which %s has applied it: that holds transactions it has lost",
				f.Name, was.Timeline, left, has, r.Name)
		case !ok && (len(f.Forks) > 0 || f.Identity.Timeline < was.Timeline): // else its history was not read
			return refuse(TimelineForked, f.Name, replace(f.Name),
				"%s is on timeline %d, which does not descend from timeline %d that %s was reading",
				f.Name, f.Identity.Timeline, was.Timeline, r.Name)
		}
	}
	return nil
}

// Rewound says what shows that the node's log ends, or that the server's present life
// began, before what others have applied of it; nil when nothing does. What once showed it
// is in the memory, and holds for the server as long as somebody reads from it by the
// subscription by which it had applied what is gone: the log grows over it.
func Rewound(node string, obs topology.Observation, m topology.Memory) *topology.Rewound {
	f, _ := obs.Node(node)
	if !f.Reachable || f.InRecovery || !f.Identity.Known() || rebuilding(node, obs.Nodes) {
		return nil
	}
	all := reading(node, obs)
	if r := m.Rewound; r != nil && r.Identity.SystemID == f.Identity.SystemID &&
		slices.ContainsFunc(all, func(s survivor) bool { id, ok := r.Readers[s.Name]; return ok && id == s.sub.ID }) {
		return r
	}
	out := topology.Rewound{Identity: f.Identity, Readers: map[string]uint32{}}
	find := func(why *Refusal, s survivor) {
		out.Why, out.Readers[s.Name] = why.Why, s.sub.ID
	}
	for _, s := range all {
		if f.Flushed != 0 && s.sub.Progress > f.Flushed && !fencedFromAnother(f, s, m) {
			find(refuse(BehindWatermark, node, "",
				"the log of %s ends at %s, below %s up to which %s has applied it: it was restored from an older state",
				node, f.Flushed, s.sub.Progress, s.Name), s)
		}
	}
	began := f.Checkpoint != 0 && m.Identity.Timeline == f.Identity.Timeline && m.Identity.StartedAt != f.Identity.StartedAt
	for _, s := range knowing(node, obs, m) {
		if has := m.Applied[s.Name].LSN; began && m.Identity.SystemID == f.Identity.SystemID && f.Checkpoint < has {
			find(refuse(BehindWatermark, node, "",
				"%s was started with a log that ended before %s, below %s up to which %s had applied it: it was restored from an older state",
				node, f.Checkpoint, has, s.Name), s)
		}
	}
	if len(out.Readers) == 0 {
		return nil
	}
	return &out
}

// fencedFromAnother reports whether the survivor's fence is of another server, or of
// another timeline of it: then the node is judged by what the mark says.
func fencedFromAnother(f topology.NodeState, s survivor, m topology.Memory) bool {
	if _, fenced := s.FenceOf(f.Name); !fenced {
		return false
	}
	was := expected(s, f.Name, m)
	return was.Known() && (was.SystemID != f.Identity.SystemID || was.Timeline != f.Identity.Timeline)
}

// reading are the nodes that could be read and read from the node, by their names.
func reading(node string, obs topology.Observation) (out []survivor) {
	for _, n := range obs.Nodes {
		if sub, ok := n.From(node); ok && n.Name != node && n.Reachable && !n.InRecovery && !rebuilding(n.Name, obs.Nodes) {
			out = append(out, survivor{NodeState: n, sub: sub})
		}
	}
	return out
}

// knowing are those of them that read from the node as it is remembered, by the same
// subscription: its oid is the same, and it has not gone back.
func knowing(node string, obs topology.Observation, m topology.Memory) []survivor {
	if !m.Identity.Known() {
		return nil
	}
	return slices.DeleteFunc(reading(node, obs), func(s survivor) bool {
		was, ok := m.Applied[s.Name]
		return !ok || was.Subscription != s.sub.ID || s.sub.Progress < was.LSN
	})
}

// AppliedOf is what the peers are shown to have applied of a node's log, by two
// observations of the whole mesh: what they had at the first, if at the second the node
// was still in the life that it was in before. A life may end while the others are read,
// and their progress be that of the next one.
func AppliedOf(node string, first, second topology.Observation) map[string]topology.Applied {
	was, _ := first.Node(node)
	now, _ := second.Node(node)
	if !was.Reachable || !now.Reachable || was.InRecovery || was.Identity != now.Identity || rebuilding(node, first.Nodes) {
		return nil
	}
	out := map[string]topology.Applied{}
	for _, s := range reading(node, first) {
		if s.Engine == "" && s.sub.ID != 0 { // an extension gives a subscription made anew the same id
			out[s.Name] = topology.Applied{Subscription: s.sub.ID, LSN: s.sub.Progress}
		}
	}
	return out
}

// MergeApplied adds to what is remembered of one log. Within one subscription the positions
// only grow.
func MergeApplied(old, now map[string]topology.Applied) map[string]topology.Applied {
	if len(old) == 0 {
		return now
	}
	out := maps.Clone(old)
	for peer, a := range now {
		if b := out[peer]; b.Subscription == a.Subscription {
			a.LSN = max(a.LSN, b.LSN)
		}
		out[peer] = a
	}
	return out
}

// shutOut refuses a node for good that is not to be read from as it is: it is barred, or
// unlike the one that was.
func shutOut(f topology.NodeState, read []topology.NodeState, obs topology.Observation, m topology.Memory) *Refusal {
	if refusal := barred(f, read); refusal != nil {
		return refusal
	}
	return Unlike(f.Name, obs, m)
}

// fenceFirst refuses the return of a node that is shut out while somebody still reads from
// it: the others are fenced off from it first, and have their gap carried, as after its
// loss. A mark that fences says that an operator has enabled the subscription again.
func fenceFirst(out *Refusal, f topology.NodeState, read []topology.NodeState) *Refusal {
	if !f.Reachable || f.InRecovery {
		return nil
	}
	for _, n := range read {
		sub, reads := n.From(f.Name)
		if _, fenced := n.FenceOf(f.Name); reads && sub.Enabled && !fenced && !n.InRecovery {
			return refuse(RecoveryUnfinished, f.Name, "see the refusal of the recovery in: healer status",
				"%s still reads from %s and is fenced off first: %s", n.Name, f.Name, out.Why).wait(true)
		}
	}
	return nil
}
