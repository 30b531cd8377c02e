package detector

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"healer/topology"
)

// tally is the evidence about one node, sorted by what it means.
type tally struct {
	fresh    []record // all fresh evidence, by observer
	refuting []record
	// accusing is positive evidence and silence of any length.
	accusing []record
	// counted are the accusations that make a failure: positive evidence and
	// silence that has lasted.
	counted  []record
	positive int
	// leave is the announcement of the node's own agent that it leaves; its
	// Seq is zero when there is none.
	leave record
}

// tally sorts the records of n at now.
func (j *Judge) tally(n *node, now time.Time) tally {
	var t tally
	for _, o := range slices.Sorted(maps.Keys(n.records)) {
		r := n.records[o]
		if r.Condition == Leaving {
			if o == n.name {
				t.leave = r
			}
			continue
		}
		if !r.fresh(now, j.rules.EvidenceTTL) {
			continue
		}
		t.fresh = append(t.fresh, r)
		switch r.Kind {
		case Refuting:
			t.refuting = append(t.refuting, r)
		case Positive:
			t.accusing = append(t.accusing, r)
			t.counted = append(t.counted, r)
			t.positive++
		case Silent:
			t.accusing = append(t.accusing, r)
			if r.Lasted >= j.rules.SilentAfter {
				t.counted = append(t.counted, r)
			}
		case Neutral:
		}
	}
	return t
}

// suspicious reports whether an accusation stands that no answer has outlived.
// One probe that goes unanswered for a moment is none: the next may well be
// answered.
func (j *Judge) suspicious(t tally) bool {
	return slices.ContainsFunc(t.accusing, func(a record) bool {
		return (a.Kind == Positive || a.Lasted >= j.rules.SuspectAfter) && !slices.ContainsFunc(t.refuting, func(r record) bool {
			return !r.at.Before(a.onset())
		})
	})
}

// answeredSince reports whether somebody had an answer after the given time. An
// older answer does not show that a failed node returns: news of its death may
// have overtaken it on the way here.
func (t tally) answeredSince(since time.Time) bool {
	return slices.ContainsFunc(t.refuting, func(r record) bool { return r.at.After(since) })
}

// begun returns when the last of the first need members began to see that the
// node is gone, or to get no answer, and false when fewer do.
func (t tally) begun(need int) (time.Time, bool) {
	var at []time.Time
	for _, r := range t.counted {
		at = append(at, r.begun())
	}
	if len(at) < need {
		return time.Time{}, false
	}
	slices.SortFunc(at, time.Time.Compare)
	return at[need-1], true
}

// refuted reports whether somebody has a live answer. Against less than enough
// accusations any counts that is fresh. Against enough of them one counts that
// came after they had begun; an older one only until there was time to repeat
// it. What an agent that was shown to be gone had found will not be repeated: it
// counts only if it cannot have been on its way when the accusations began.
func (j *Judge) refuted(t tally, need int, now time.Time) bool {
	begun, enough := t.begun(need)
	return slices.ContainsFunc(t.refuting, func(r record) bool {
		switch {
		case !enough:
			return true
		case j.silenced(r):
			return r.at.After(begun.Add(underway)) && now.Sub(r.at) < j.rules.RefuteWithin
		default:
			return r.at.After(begun) || now.Sub(begun) < j.rules.RefuteWithin
		}
	})
}

// silenced reports whether the observer's agent was shown to be gone after it
// had found this.
func (j *Judge) silenced(r record) bool { return j.gone[r.Observer].After(r.at) }

// underway is how long evidence may have been on its way: it is dated by its
// arrival, so it may be that much older than it seems.
const underway = 50 * time.Millisecond

// Doubt is a member whose answer keeps a node from having failed.
type Doubt struct {
	Member string
	// At is when its answer came, if that may have been on its way since before
	// enough others began to accuse the node; else zero.
	At time.Time
}

// doubts are the other members who alone keep enough accusers from making n
// fail: whether their answers can still be repeated is worth asking.
func (j *Judge) doubts(t tally) []Doubt {
	begun, enough := t.begun(j.need(t))
	if !enough {
		return nil
	}
	var out []Doubt
	for _, r := range t.refuting {
		if r.Observer == j.self || j.silenced(r) {
			continue
		}
		d := Doubt{Member: r.Observer}
		if r.at.Before(begun.Add(underway)) {
			d.At = r.at
		}
		out = append(out, d)
	}
	return out
}

// need is how many members must accuse, and be heard, for a failure.
func (j *Judge) need(t tally) int {
	half := (len(j.voters) + 1) / 2
	if j.rules.Quorum == QuorumHalf && t.positive >= half {
		return half
	}
	return len(j.voters)/2 + 1
}

// contacts counts the members that this agent has lately heard, or heard of
// through evidence of theirs that is fresh, itself included.
func (j *Judge) contacts(now time.Time) int {
	count := 0
	for _, m := range j.voters {
		if m == j.self || j.inContact(m, now) {
			count++
		}
	}
	return count
}

func (j *Judge) inContact(member string, now time.Time) bool {
	if at, ok := j.heard[member]; ok && now.Sub(at) <= j.rules.EvidenceTTL {
		return true
	}
	for _, n := range j.nodes {
		if r, ok := n.records[member]; ok && r.Condition != Leaving && r.fresh(now, j.rules.EvidenceTTL) {
			return true
		}
	}
	return false
}

// Evaluate concludes about every node at now and returns the verdicts that say
// something new, sorted by name.
func (j *Judge) Evaluate(now time.Time) []Verdict {
	j.advance(now)
	var changed []Verdict
	for _, m := range j.members {
		n := j.nodes[m]
		j.learn(n, now)
		v := j.conclude(n, now)
		if v.same(n.verdict) {
			v.At = n.verdict.At
		} else {
			changed = append(changed, v)
		}
		n.verdict = v
	}
	return changed
}

// learn takes over what other members concluded: the greatest episode anybody
// knows, and that the node failed in it. It never makes a node failed; it makes
// an agent that missed the failure wait for the node's admission like the rest.
func (j *Judge) learn(n *node, now time.Time) {
	before, wasOpen, wasLost := n.episode, n.open, n.lost
	for _, r := range n.records {
		if r.Episode > n.episode {
			n.begin(r.Episode)
		}
	}
	for _, r := range n.records {
		if r.Observer == j.self || r.Failed == nil || r.Episode != n.episode {
			continue
		}
		// Agents that failed it at the same instant may have known different
		// identities; they settle on one so that all name one incarnation.
		if !n.open {
			n.open, n.openedAt, n.lost = true, now, *r.Failed
			n.fell(now)
		} else if lessIdentity(n.lost, *r.Failed) {
			n.lost = *r.Failed
		}
	}
	if n.episode != before || n.open != wasOpen || n.lost != wasLost {
		j.restamp(n)
	}
}

// lessIdentity orders identities in order to choose the same everywhere, not
// because the order means anything.
func lessIdentity(a, b topology.Identity) bool {
	return cmp.Or(cmp.Compare(a.StartedAt, b.StartedAt), cmp.Compare(a.SystemID, b.SystemID),
		cmp.Compare(a.Timeline, b.Timeline)) < 0
}

// conclude is the state machine of one node.
func (j *Judge) conclude(n *node, now time.Time) Verdict {
	t := j.tally(n, now)
	j.still(n, t, now)
	j.attend(n, t, now)
	life := n.verdict.Life
	if !n.open && (life == LifeFailed || life == LifeReturning) {
		life = LifeUnknown // admitted, here or by another agent
	}
	if j.leaves(n, t) {
		if !n.left {
			n.left, n.leftIn = true, n.episode
		}
		return j.verdict(n, t, LifeLeft, obstacle{}, now)
	}
	if n.left {
		n.left = false
		if n.episode <= n.leftIn {
			n.begin(n.leftIn + 1)
			j.restamp(n)
		}
		life = LifeUnknown
	}
	accused, why := j.weigh(n, t, now)
	n.doubts = nil
	if !accused && life != LifeFailed && life != LifeReturning {
		n.doubts = j.doubts(t)
	}
	switch {
	case accused && why == (obstacle{}):
		j.fail(n, life, now)
		return j.verdict(n, t, LifeFailed, obstacle{}, now)
	case accused && (life == LifeFailed || life == LifeReturning):
		return j.verdict(n, t, life, obstacle{}, now)
	case accused:
		return j.verdict(n, t, LifeSuspected, why, now)
	case n.open && life != LifeReturning && t.answeredSince(n.openedAt) && j.held(n, now):
		n.rose = true
		return j.verdict(n, t, LifeFailed, obstacle{}, now)
	case n.open && t.answeredSince(n.openedAt):
		return j.verdict(n, t, LifeReturning, obstacle{}, now)
	case life == LifeFailed || life == LifeReturning:
		return j.verdict(n, t, life, obstacle{}, now)
	case j.suspicious(t):
		return j.verdict(n, t, LifeSuspected, obstacle{}, now)
	case len(t.refuting) > 0 && !n.open:
		return j.verdict(n, t, LifeUp, obstacle{}, now)
	default:
		return j.verdict(n, t, life, obstacle{}, now)
	}
}

// leaves reports whether n counts as left on purpose. The announcement excuses
// the end of a server that stops with its agent. It does not excuse a failure
// that came before it, nor any end of a server that outlives its agent by
// LeaveGrace: then only the agent left, and the server is watched as ever.
func (j *Judge) leaves(n *node, t tally) bool {
	if t.leave.Seq == 0 || n.open {
		return false
	}
	if t.answeredSince(t.leave.at.Add(j.rules.LeaveGrace)) {
		n.outlived = t.leave.Seq
	}
	return n.outlived != t.leave.Seq
}

// weigh reports whether n stands accused of having failed and, if so, why this
// agent may not conclude that it has; no obstacle means that it may. A
// live answer that any member has is the end of it.
func (j *Judge) weigh(n *node, t tally, now time.Time) (accused bool, why obstacle) {
	need, heard := j.need(t), j.contacts(now)
	switch {
	case len(t.counted) == 0 || j.refuted(t, need, now):
		return false, obstacle{}
	case heard < need:
		return true, cutOff(heard, len(j.voters), need)
	case len(t.counted) < need:
		return false, obstacle{}
	case j.listening(now):
		return true, paused()
	case j.maintained(n, now):
		return true, maintenance(j.suspended[n.name])
	case !n.seen && !n.prior.Known() && now.Sub(j.started) < j.rules.StartupGrace:
		return true, tooEarly(j.rules.StartupGrace)
	default:
		return true, obstacle{}
	}
}

// maintained reports whether an operator has suspended the verdicts about n.
func (j *Judge) maintained(n *node, now time.Time) bool {
	s, ok := j.suspended[n.name]
	return ok && now.Before(s.Until)
}

// fail notes that n failed. A node that was returning fails anew, in a new
// episode: what it did since it answered belongs to another outage. One that was
// held down never came back: it only holds still for longer.
func (j *Judge) fail(n *node, before Life, now time.Time) {
	switch {
	case n.open && before == LifeReturning:
		n.begin(n.episode + 1)
	case n.open && n.rose:
		n.openedAt = now
		n.fell(now)
		return
	case n.open:
		return
	}
	n.fell(now)
	n.open, n.openedAt, n.lost = true, now, n.identity()
	j.restamp(n)
}

// identity is what any member last read from the node. Who read it last has met
// its latest life: after a quick restart the others may still know the one before.
func (n *node) identity() topology.Identity {
	best, read := n.prior, time.Time{}
	for _, r := range n.records {
		at := r.read()
		if r.Identity.Known() && (at.After(read) || at.Equal(read) && lessIdentity(best, r.Identity)) {
			best, read = r.Identity, at
		}
	}
	return best
}
