package detector

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// verdict puts the conclusion into words. obstacle is why this agent abstains
// from a failure, or empty.
func (j *Judge) verdict(n *node, t tally, life Life, obstacle string, now time.Time) Verdict {
	v := Verdict{
		Node: n.name, Life: life, Abstained: obstacle != "", Findings: j.findings(n, t, now),
		Episode: n.episode, Identity: n.identity(), At: now,
		Evidence: make([]Evidence, 0, len(t.fresh)),
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
	if obstacle != "" {
		v.Reason += "; " + obstacle
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
func (j *Judge) findings(n *node, t tally, now time.Time) []Condition {
	// While agents start one after another, one that is not there yet is not
	// missed.
	missed := j.met[n.name] || now.Sub(j.started) >= j.rules.StartupGrace
	found := map[Condition]bool{AgentGone: missed && j.agents != nil && !j.agents[n.name] && t.leave.Seq == 0}
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
			j.accusations(t.accusing), len(t.counted), len(j.members), j.need(t)))
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

func cutOffReason(heard, members, need int) string {
	return fmt.Sprintf("this agent abstains: it hears %d of %d members, itself included, and needs %d", heard, members, need)
}

func graceReason(grace time.Duration) string {
	return fmt.Sprintf("this agent abstains: nobody has seen the node alive, and the grace of %s after the start is not over", grace)
}
