package detector

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// obstacle is why no failure is concluded although the node stands accused; the
// zero value is none. Its condition is empty when the table has no row for it.
type obstacle struct {
	condition Condition
	text      string
}

// verdict puts the conclusion into words.
func (j *Judge) verdict(n *node, t tally, life Life, o obstacle, now time.Time) Verdict {
	v := Verdict{
		Node: n.name, Life: life, Abstained: o != (obstacle{}), Findings: j.findings(n, t, o, now),
		Episode: n.episode, Identity: n.identity(), Open: n.open, At: now,
		Evidence:   make([]Evidence, 0, len(t.fresh)),
		Maintained: j.maintained(n, now), Unwatched: n.unwatched && !n.open && life != LifeLeft, AgentSince: n.records[n.name].AgentSince,
		Failures: slices.Clone(n.failures), HoldDown: j.holdDown(n, now), Held: j.held(n, now),
	}
	if n.open {
		v.Identity = n.lost
	}
	v.Incarnation = Incarnation(v.Identity, v.Episode)
	for _, r := range t.fresh {
		v.Evidence = append(v.Evidence, r.sent(now))
	}
	v.Condition = j.condition(n, t, life)
	v.Reason = j.reason(t, v)
	if o.text != "" {
		v.Reason += "; " + o.text
	}
	if v.Held && n.open {
		v.Reason += "; " + heldReason(v)
	}
	return v
}

// condition is the one that names the verdict.
func (j *Judge) condition(n *node, t tally, life Life) Condition {
	byRank := func(a, b record) int { return j.table.rank(a.Condition) - j.table.rank(b.Condition) }
	switch {
	case life == LifeLeft:
		return Leaving
	case life == LifeFailed && n.verdict.Life == LifeFailed:
		// The cause stays the one that decided, whatever the evidence does
		// while the node is down.
		return n.verdict.Condition
	case (life == LifeFailed || life == LifeSuspected) && len(t.accusing) > 0:
		return slices.MinFunc(t.accusing, byRank).Condition
	case len(t.refuting) > 0:
		return slices.MaxFunc(t.refuting, byRank).Condition
	default:
		return n.verdict.Condition
	}
}

// findings are the conditions an operator must hear of, in the table's order.
func (j *Judge) findings(n *node, t tally, o obstacle, now time.Time) []Condition {
	found := map[Condition]bool{
		AgentGone:   !n.missing.IsZero() && j.missed(n, now) && (t.leave.Seq == 0 || n.unwatched),
		Partitioned: j.partitioned(t, now),
		o.condition: true,
		NoWitness:   len(j.voters) == 2 && j.rules.Quorum != QuorumHalf && len(t.accusing) > 0 && j.suspicious(t),
		Maintained:  j.maintained(n, now),
		Flapping:    j.holdDown(n, now) > 0,
	}
	for _, r := range t.fresh {
		found[r.Condition] = true
	}
	var out []Condition
	for _, m := range Conditions() {
		if m.Finding && found[m.Condition] {
			out = append(out, m.Condition)
		}
	}
	return out
}

// partitioned reports whether some members have had no answer for a while which
// others have.
func (j *Judge) partitioned(t tally, now time.Time) bool {
	return j.refuted(t, j.need(t), now) && slices.ContainsFunc(t.counted, func(r record) bool { return r.Lasted >= j.rules.SilentAfter })
}

// reason says who saw what. It has no durations in it, so that it stays the
// same while nothing happens.
func (j *Judge) reason(t tally, v Verdict) string {
	var parts []string
	switch {
	case v.Life == LifeLeft:
		return j.table.text(Leaving)
	case len(t.refuting) > 0 && v.Life != LifeFailed:
		parts = append(parts, observers(t.refuting)+" had an answer")
		if v.Life == LifeReturning {
			parts = append(parts, "it failed before and waits to be admitted")
		}
	case len(t.fresh) == 0:
		return "no fresh evidence"
	}
	if len(t.accusing) > 0 {
		parts = append(parts, fmt.Sprintf("%s (%d of %d members, %d needed)",
			j.accusations(t.accusing), len(t.counted), len(j.voters), j.need(t)))
	}
	if len(parts) == 0 {
		return "the evidence says nothing about it"
	}
	return strings.Join(parts, "; ")
}

// accusations groups the accusers by what they saw.
func (j *Judge) accusations(rs []record) string {
	var parts []string
	for _, m := range Conditions() {
		same := slices.DeleteFunc(slices.Clone(rs), func(r record) bool { return r.Condition != m.Condition })
		if len(same) > 0 {
			parts = append(parts, observers(same)+" saw that "+m.Text)
		}
	}
	if len(parts) == 0 {
		return observers(rs) + " accuse it"
	}
	return strings.Join(parts, ", ")
}

// observers lists the records' observers.
func observers(rs []record) string {
	names := make([]string, len(rs))
	for i, r := range rs {
		names[i] = r.Observer
	}
	return strings.Join(names, ", ")
}

// cutOff and the others say why no failure is concluded. None has a time in it
// that runs.
func cutOff(heard, members, need int) obstacle {
	text := fmt.Sprintf("this agent abstains: it hears %d of %d members, itself included, and needs %d", heard, members, need)
	if members == 2 {
		text += ", which two members cannot have when one is gone: add a witness"
	}
	return obstacle{Minority, text}
}

func paused() obstacle {
	return obstacle{Resumed, "this agent abstains: it was paused, and what it hears may be old"}
}

func maintenance(s Suspension) obstacle {
	return obstacle{Maintained, "no failure is concluded until " + s.Until.UTC().Format(time.RFC3339) + ": " + s.Text}
}

func tooEarly(grace time.Duration) obstacle {
	return obstacle{text: fmt.Sprintf("this agent abstains: nobody has seen the node alive, and the grace of %s after the start is not over", grace)}
}

func heldReason(v Verdict) string {
	return fmt.Sprintf("it failed %d times lately and is held down until it has answered for %s without a break",
		len(v.Failures), v.HoldDown)
}
