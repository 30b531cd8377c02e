package planner

import (
	"fmt"
	"slices"

	"healer/events"
)

// StepID is the id of a step: the same for every agent and every attempt.
func StepID(plan string, k StepKind, node, target string) string {
	return events.Hash(plan, string(k), node, target)
}

// add appends a step and returns its id.
func (p *Plan) add(k StepKind, node, target string, after []string, before, then string) string {
	id := StepID(p.ID, k, node, target)
	p.Steps = append(p.Steps, Step{ID: id, Kind: k, Node: node, Target: target, After: after, Before: before, Then: then})
	return id
}

// recoverySteps lists the steps of a recovery whose lanes are decided. With all
// fences in place and nothing to heal or to release there are none.
func recoverySteps(p Plan, all []survivor, rel []released) Plan {
	if p.Fenced && len(p.Lanes) == 0 && len(rel) == 0 {
		return p
	}
	var fences []string
	for _, s := range all {
		fences = append(fences, p.add(StepFence, s.Name, "", nil,
			fmt.Sprintf("%s may still be applying what it received of %s", s.Name, p.Node),
			fmt.Sprintf("everything received is applied, subscription %s is disabled and marked", s.sub.Name)))
	}
	observed := p.add(StepObserve, "", "", fences,
		"every survivor's progress stands still",
		"watermark, source and lanes are facts")
	subscribed := map[string]string{}
	var lanes []string
	for _, l := range p.Lanes {
		id := p.laneSteps(l, observed)
		subscribed[l.Target] = id
		lanes = append(lanes, id)
	}
	judged := observed
	if len(lanes) > 0 {
		judged = p.add(StepVerify, p.Source, "", lanes,
			fmt.Sprintf("every laggard has applied its gap of %s", p.Node),
			judgement(p))
	}
	for _, r := range rel {
		after := []string{judged}
		if id, ok := subscribed[r.target]; ok {
			after = append(after, id)
		}
		before, then := releaseText(p, r)
		p.add(StepRelease, r.node, r.target, after, before, then)
	}
	return p
}

// judgement is what the verify step comes to. Rows that stand in for transactions
// were compared when they were carried.
func judgement(p Plan) string {
	if !slices.ContainsFunc(p.Lanes, func(l Lane) bool { return !l.Rows }) {
		return "every laggard counts as having the watermark"
	}
	return "every row the gaps touched is equal on all survivors"
}

// releaseText tells the releases of lanes, of mere marks and of mere clones
// apart.
func releaseText(p Plan, r released) (before, then string) {
	if r.node == r.target {
		then = fmt.Sprintf("no gap mark is left on %s", r.target)
		if u, ok := p.uncompared(r.target); ok {
			return "NOT COMPARED: " + u.Why, then + "; run next: " + u.Remedy
		}
		return fmt.Sprintf("the gap mark on %s stands for rows that other lanes cover", r.target), then
	}
	then = fmt.Sprintf("no clone for %s is left on %s", r.target, r.node)
	if !slices.Contains(p.Survivors, r.target) {
		return fmt.Sprintf("the clone is of an earlier run, and %s takes no part", r.target), then
	}
	return fmt.Sprintf("the rows carried to %s are verified, or none were", r.target),
		then + fmt.Sprintf(", and no gap mark on %s", r.target)
}

func (p Plan) uncompared(node string) (Uncompared, bool) {
	i := slices.IndexFunc(p.Uncompared, func(u Uncompared) bool { return u.Node == node })
	if i < 0 {
		return Uncompared{}, false
	}
	return p.Uncompared[i], true
}

// laneSteps lists one lane's steps and returns the id of its last one before
// the lanes meet.
func (p *Plan) laneSteps(l Lane, after string) string {
	if l.Rows {
		return p.add(StepRows, l.Source, l.Target, []string{after},
			fmt.Sprintf("no log on %s has the transactions that %s lacks, but its tables have their rows", l.Source, l.Target),
			fmt.Sprintf("the gap is marked on %s; its tables equal those of %s, and it counts as having %s up to %s", l.Target, l.Source, p.Node, l.To))
	}
	cloned := p.add(StepClone, l.Source, l.Target, []string{after},
		fmt.Sprintf("slot %s on %s holds the WAL that %s needs", l.Slot, l.Source, l.Target),
		fmt.Sprintf("the gap is marked on %s, and %s is a copy of the slot", l.Target, l.Clone))
	advanced := p.add(StepAdvance, l.Source, l.Target, []string{cloned},
		"the clone may begin long before the gap",
		"the clone stands at the newest position known to lie before the gap")
	return p.add(StepSubscribe, l.Source, l.Target, []string{advanced},
		fmt.Sprintf("%s has applied %s up to %s or later", l.Target, p.Node, l.From),
		fmt.Sprintf("%s has applied %s up to %s, each transaction once and in order", l.Target, p.Node, l.To))
}

// Without is the plan as it stands when target can no longer be healed: its
// lane is gone and it is no survivor any more. The steps are kept, so that ids
// and dependencies still mean the same.
func (p Plan) Without(target string) Plan {
	lanes, left := []Lane{}, []string{}
	for _, l := range p.Lanes {
		if l.Target != target {
			lanes = append(lanes, l)
		}
	}
	for _, s := range p.Survivors {
		if s != target {
			left = append(left, s)
		}
	}
	p.Lanes, p.Survivors = lanes, left
	return p
}

// Lane returns the lane that heals target.
func (p Plan) Lane(target string) (Lane, bool) {
	for _, l := range p.Lanes {
		if l.Target == target {
			return l, true
		}
	}
	return Lane{}, false
}
