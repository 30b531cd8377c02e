package planner

import (
	"fmt"
	"slices"
	"strings"

	"healer/topology"
)

// makeRejoin plans how a node that has returned is taken back.
//
// Invariants:
//   - only subscriptions that carry a mark are unfenced;
//   - none is, unless the node continues the very log that the survivors have
//     read: same system, no fork below what they applied, nothing of that gone;
//   - the rows that a gap touched are compared before the node brings newer
//     ones, as long as a recovery is able to do that.
func makeRejoin(p Plan, t Trigger, obs topology.Observation, pol Policy) (Plan, *Refusal) {
	if slices.Contains(t.Lost, t.Node) {
		return p, refuse(NodeLost, t.Node, "healer status", "%s is still judged lost", t.Node).wait(true)
	}
	var read []topology.NodeState
	for _, n := range obs.Nodes {
		if n.Name != t.Node && n.Reachable && !slices.Contains(t.Lost, n.Name) {
			read = append(read, n)
		}
	}
	f, _ := obs.Node(t.Node)
	fenced := fencedSurvivors(t.Node, read)
	for _, s := range fenced {
		p.Survivors = append(p.Survivors, s.Name)
		if !s.sub.Enabled {
			p.Watermark = max(p.Watermark, s.sub.Progress)
		}
	}
	if out := shutOut(f, read, obs, t.Memory); out != nil {
		if out.Wait {
			return p, out
		}
		for _, first := range []*Refusal{fenceFirst(out, f, read), finished(p, t, obs, pol, read, fenced)} {
			if first != nil {
				return p, first
			}
		}
		return p, out
	}
	rel := clones(t.Node, read)
	owed := owing(t.Node, read)
	if len(fenced) == 0 && len(rel) == 0 && len(owed) == 0 && !slices.ContainsFunc(read, func(n topology.NodeState) bool { return hasGap(n, t.Node) }) {
		return p, nil
	}
	if _, refusal := alive(t, obs, nil); refusal != nil {
		return p, refusal
	}
	p.Fenced = true
	p.Readers = readers(read)
	checks := []func() *Refusal{
		func() *Refusal { return ready(f) },
		func() *Refusal { return sameNode(f, t.Memory, fenced) },
		func() *Refusal { return sameHistory(f, t.Memory, fenced, p.Watermark) },
		func() *Refusal { return feeds(f, fenced, t.Sighted) },
		func() *Refusal { return finished(p, t, obs, pol, read, fenced) },
	}
	for _, check := range checks {
		if refusal := check(); refusal != nil {
			return p, refusal
		}
	}
	p = rejoinSteps(p, f, fenced, rel)
	if len(fenced) > 0 || len(owed) == 0 {
		return p, nil
	}
	return compareWith(p, f, t, read, owed)
}

// barred refuses a node that a mark bars: one that is being rebuilt, or one that
// was found to have lost what the survivors hold. The latter shows only until its
// log has grown to where it was, with other transactions under the same LSNs.
func barred(f topology.NodeState, read []topology.NodeState) *Refusal {
	for _, n := range read {
		bar, ok := n.BarOf(f.Name)
		switch {
		case !ok:
		case bar.Reason == topology.BarRebuild:
			return refuse(RebuildUnfinished, f.Name, rebuild(f.Name),
				"%s is being rebuilt, and not complete yet", f.Name).wait(true)
		case f.Identity.SystemID == bar.Identity.SystemID:
			return refuse(Reason(bar.Reason), f.Name, replace(f.Name),
				"%s was refused as %s before, which %s keeps marked until it is rebuilt or dropped: what it has written since does not bring back what it lost",
				f.Name, bar.Reason, n.Name)
		}
	}
	return nil
}

// fencedSurvivors returns the nodes that carry a fence mark of origin, even if
// the subscription is gone since or was enabled by hand: then the mark is all
// there is to remove, and the progress, which nothing holds still, tells nothing.
func fencedSurvivors(origin string, nodes []topology.NodeState) []survivor {
	var out []survivor
	for _, n := range nodes {
		if _, ok := n.FenceOf(origin); !ok || n.InRecovery {
			continue
		}
		s := survivor{NodeState: n, fenced: true}
		s.sub, _ = n.From(origin)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b survivor) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// hasGap reports whether a gap of the origin is marked on a node that can be healed.
func hasGap(n topology.NodeState, origin string) bool {
	_, ok := n.GapOf(origin)
	return ok && !n.InRecovery
}

// readers are the nodes that will read from the returned one.
func readers(read []topology.NodeState) (names []string) {
	for _, n := range read {
		if !n.InRecovery {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}

// ready refuses a node that cannot take part in anything yet.
func ready(f topology.NodeState) *Refusal {
	if !f.Reachable {
		return refuse(NodeUnreachable, f.Name, "see "+f.Name+" in: healer status",
			"%s is back but cannot be read (%s)", f.Name, f.Problem).wait(true)
	}
	if f.InRecovery {
		return refuse(InRecovery, f.Name, "on "+f.Name+": SELECT pg_promote()",
			"%s came back as a standby", f.Name).wait(true)
	}
	if b, ok := f.Blocked(); ok {
		return refuse(NodeNotReady, f.Name, b.Remedy, "%s came back but cannot take part: %s (%s)", f.Name, b.Detail, b.Code)
	}
	return nil
}

// expected is the identity that a survivor's mark demands, or the remembered
// one where the mark was made without.
func expected(s survivor, origin string, m topology.Memory) topology.Identity {
	if f, _ := s.FenceOf(origin); f.Identity.Known() {
		return f.Identity
	}
	return m.Identity
}

// sameNode refuses a server that is not the one the survivors read from.
func sameNode(f topology.NodeState, m topology.Memory, fenced []survivor) *Refusal {
	drop := rebuild(f.Name)
	if !f.Identity.Known() {
		return refuse(IdentityUnknown, f.Name, "see "+f.Name+" in: healer status",
			"the system identifier of %s cannot be read", f.Name).wait(true)
	}
	for _, s := range fenced {
		want := expected(s, f.Name, m)
		if !want.Known() {
			return refuse(IdentityUnknown, s.Name, drop,
				"%s was fenced off on %s before anybody had read its identity: nobody can tell whether this is the same server",
				f.Name, s.Name)
		}
		if want.SystemID != f.Identity.SystemID {
			return refuse(IdentityChanged, f.Name, drop,
				"%s came back with system identifier %d, but %s was reading from %d: it is another server and its LSNs mean nothing here",
				f.Name, f.Identity.SystemID, s.Name, want.SystemID)
		}
	}
	return nil
}

// sameHistory refuses a server whose timeline does not contain what the survivors
// have applied of it: it would use those LSNs again for other transactions, and
// the survivors would take them for applied. That its log has lost them on the same
// timeline is seen before, fenced or not: Rewound.
func sameHistory(f topology.NodeState, m topology.Memory, fenced []survivor, w topology.LSN) *Refusal {
	drop := replace(f.Name)
	for _, s := range fenced {
		was := expected(s, f.Name, m).Timeline
		if was == f.Identity.Timeline {
			continue
		}
		left, ok := leftAt(f.Forks, was)
		if !ok {
			return refuse(TimelineForked, f.Name, drop,
				"%s came back on timeline %d, which does not descend from timeline %d that %s was reading",
				f.Name, f.Identity.Timeline, was, s.Name)
		}
		if left < w {
			return refuse(TimelineForked, f.Name, drop,
				"%s left timeline %d at %s, below %s up to which the survivors have applied it: they hold transactions it has lost",
				f.Name, was, left, w)
		}
	}
	return nil
}

// leftAt returns where a timeline was left for the next one.
func leftAt(forks []topology.Fork, timeline uint32) (topology.LSN, bool) {
	for _, f := range forks {
		if f.Timeline == timeline {
			return f.SwitchLSN, true
		}
	}
	return 0, false
}

// feeds refuses when a slot that the mesh needs between the node and a survivor
// is gone, in either direction: what it held cannot be sent any more.
func feeds(f topology.NodeState, fenced []survivor, sighted map[string]Sighting) *Refusal {
	for _, s := range fenced {
		if s.sub.Name != "" {
			if r := feed(f, f, s.sub, s.Name); r != nil {
				return r
			}
			if r := untouched(f, s, sighted[s.Name]); r != nil {
				return r
			}
		}
		if back, ok := f.From(s.Name); ok {
			if r := feed(f, s.NodeState, back, f.Name); r != nil {
				return r
			}
		}
	}
	return nil
}

// untouched refuses when the slot from which a survivor reads is not as the
// survivor left it. Nobody has read from it since the fence. So it stands where
// it stood, below all that the node had flushed when it was first seen again:
// its restart LSN before a record of that, its confirmed LSN at most at the end.
// What was seen behind an earlier fence says nothing: the slot has moved since.
// A slot that was made or moved since skips what lies between, and the survivor
// would never know.
func untouched(f topology.NodeState, s survivor, seen Sighting) *Refusal {
	slot, ok := feeding(f, s.sub, s.Name)
	fence, _ := s.FenceOf(f.Name)
	if !ok || seen.End == 0 || !seen.Behind(fence) || (slot.Restart < seen.End && slot.Confirmed <= seen.End) {
		return nil
	}
	return refuse(SlotRecreated, f.Name, rebuild(f.Name),
		"slot %s on %s, which feeds subscription %s of %s, was made again or moved after %s was back at %s: what %s had not received before is skipped",
		slot.Name, f.Name, s.sub.Name, s.Name, f.Name, seen.End, s.Name)
}

// feeding finds the slot on provider from which to's subscription reads.
func feeding(provider topology.NodeState, sub topology.Subscription, to string) (topology.Slot, bool) {
	i := slices.IndexFunc(provider.Slots, func(s topology.Slot) bool {
		if sub.Slot != "" {
			return s.Name == sub.Slot
		}
		return s.Kind == topology.SlotMesh && s.To == to
	})
	if i < 0 {
		return topology.Slot{}, false
	}
	return provider.Slots[i], true
}

// feed checks the slot on provider from which to's subscription reads. Whichever
// direction is broken, it is the returned node f that the survivors can rebuild.
func feed(f, provider topology.NodeState, sub topology.Subscription, to string) *Refusal {
	slot, ok := feeding(provider, sub, to)
	switch {
	case !ok:
		return refuse(RejoinSlotMissing, provider.Name, rebuild(f.Name),
			"slot %q on %s, which feeds subscription %s of %s, is gone: what it held back cannot be sent any more",
			sub.Slot, provider.Name, sub.Name, to)
	case !usable(slot):
		return refuse(RejoinSlotLost, provider.Name, rebuild(f.Name),
			"slot %s on %s, which feeds subscription %s of %s, has lost its WAL",
			slot.Name, provider.Name, sub.Name, to)
	}
	return nil
}

// finished refuses while a recovery of the node is not complete. The caller
// then runs a recovery of the same node, which is planned although the node is
// alive. Where that is refused for good and no transaction has been carried
// yet, the node itself is the best source there is, and it may come in.
//
// A gap mark counts on whoever has it: somebody else may have taken the fence away.
func finished(p Plan, t Trigger, obs topology.Observation, pol Policy, read []topology.NodeState, fenced []survivor) *Refusal {
	open := ""
	for _, s := range fenced {
		if open == "" && s.sub.Name != "" && !s.sub.Enabled && s.sub.Progress < p.Watermark {
			open = fmt.Sprintf("%s has %s only up to %s, others up to %s", s.Name, p.Node, s.sub.Progress, p.Watermark)
		}
	}
	at := slices.IndexFunc(read, func(n topology.NodeState) bool { return hasGap(n, p.Node) })
	marked := at >= 0
	if marked {
		open = fmt.Sprintf("the rows carried to %s are not verified", read[at].Name)
	}
	// Of a recovery that was cancelled nothing more is to be expected, and the node
	// itself holds what is missing.
	if open == "" || (pol.Cancelled && !marked) {
		return nil
	}
	t.Kind = Recovery
	_, obstacle := makeRecovery(Plan{ID: p.ID, Kind: Recovery, Cluster: p.Cluster, Node: p.Node}, t, obs, pol)
	final := obstacle != nil && !obstacle.Wait
	if final && !marked {
		return nil
	}
	why := "the recovery of " + p.Node + " comes first: " + open
	if obstacle != nil {
		why += "; it is held up: " + obstacle.Why
	}
	return refuse(RecoveryUnfinished, p.Node, "see the refusal of the recovery in: healer status", "%s", why).wait(!final)
}

// rejoinSteps lists the steps of a rejoin that nothing stands against.
func rejoinSteps(p Plan, f topology.NodeState, fenced []survivor, rel []released) Plan {
	var settled []string
	if len(fenced) > 0 {
		checked := p.add(StepCheck, p.Node, "", nil,
			p.Node+" looks like the server that the survivors know",
			p.Node+" is that server, its log continues what they applied, and its slots still hold the rest")
		for _, s := range fenced {
			opened := p.add(StepUnfence, s.Name, "", []string{checked},
				fmt.Sprintf("%s is fenced off from %s, marked", s.Name, p.Node),
				fmt.Sprintf("%s reads from %s again and carries no fence mark of it", s.Name, p.Node))
			settled = append(settled, opened)
			if drains(f, s) {
				settled = append(settled, p.add(StepDrain, s.Name, "", []string{opened},
					fmt.Sprintf("%s and %s have each something the other lacks", s.Name, p.Node),
					fmt.Sprintf("each has applied what the other had committed when %s was let in", p.Node)))
			}
		}
	}
	slices.SortFunc(rel, func(a, b released) int { return strings.Compare(a.node+"\x00"+a.target, b.node+"\x00"+b.target) })
	for _, r := range rel {
		p.add(StepRelease, r.node, r.target, settled,
			"the clone is of an earlier run, and no recovery of "+p.Node+" is open",
			fmt.Sprintf("no clone for %s is left on %s", r.target, r.node))
	}
	return p
}

// drains reports whether both directions flow once s is unfenced. The other
// direction does not while the node has fenced s off in its turn, as after a
// split into equal halves; the rejoin of s waits for that one.
func drains(f topology.NodeState, s survivor) bool {
	back, ok := f.From(s.Name)
	return s.sub.Name != "" && (!ok || back.Enabled)
}
