package planner

import (
	"fmt"
	"strings"
)

// Explain is the plan as text for an operator: what it is about, what it rests
// on, and its steps in order with what each waits for.
func Explain(p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s in cluster %s\n", p.Kind, p.Node, p.Cluster)
	fmt.Fprintf(&b, "plan %s\n", p.ID)
	if len(p.Left) > 0 {
		fmt.Fprintf(&b, "behind as well, and left so: %s\n", strings.Join(p.Left, ", "))
	}
	if p.Empty() {
		b.WriteString("nothing to do\n")
		return b.String()
	}
	if p.Because != "" {
		fmt.Fprintf(&b, "although it lives: %s\n", p.Because)
	}
	if len(p.Survivors) > 0 {
		fmt.Fprintf(&b, "survivors: %s\n", strings.Join(p.Survivors, ", "))
	}
	if len(p.Survivors) == 1 && len(p.Left) == 0 && len(p.Lanes) == 0 && p.Kind == Recovery {
		fmt.Fprintf(&b, "%s alone reads from %s: nothing to carry, and what returns as %s is checked first\n", p.Survivors[0], p.Node, p.Node)
	}
	if len(p.Absent) > 0 {
		fmt.Fprintf(&b, "not answering, healed later: %s\n", strings.Join(p.Absent, ", "))
	}
	if len(p.Unsettled) > 0 {
		fmt.Fprintf(&b, "lost as well, and not fenced off yet: %s; should it live after all, deletions of its own may still arrive: the gaps stay marked, and are compared once more\n",
			strings.Join(p.Unsettled, ", "))
	}
	if text := p.UnsentText(p.Node); text != "" {
		fmt.Fprintf(&b, "%s\n", text)
	}
	if !p.Fenced {
		b.WriteString("an estimate until every survivor is fenced:\n")
	}
	if p.Watermark > 0 {
		fmt.Fprintf(&b, "watermark: %s\n", p.Watermark)
	}
	if p.Source != "" {
		fmt.Fprintf(&b, "source: %s\n", p.Source)
	}
	for _, l := range p.Lanes {
		if l.Rows {
			fmt.Fprintf(&b, "gap: %s gets what it lacks of (%s, %s] from %s as ROWS, NOT TRANSACTIONS: no log has them any more\n", l.Target, l.From, l.To, l.Source)
			continue
		}
		fmt.Fprintf(&b, "gap: %s gets (%s, %s] from %s, slot %s, clone %s\n", l.Target, l.From, l.To, l.Source, l.Slot, l.Clone)
	}
	if p.Foreseen != nil {
		fmt.Fprintf(&b, "as it looks now nothing can be carried behind the fences (%s): %s\n  remedy: %s\n",
			p.Foreseen.Reason, p.Foreseen.Why, p.Foreseen.Remedy)
	}
	b.WriteString("steps:\n")
	number := map[string]int{}
	for i, s := range p.Steps {
		number[s.ID] = i + 1
		fmt.Fprintf(&b, "%3d. %s%s\n       %s\n", i+1, s.title(), waits(s, number), s.Then)
	}
	return b.String()
}

// title is a step's verb and the servers it acts on.
func (s Step) title() string {
	t := string(s.Kind)
	if s.Node != "" {
		t += " " + s.Node
	}
	if s.Target != "" && s.Target != s.Node {
		t += " -> " + s.Target
	}
	return t
}

// waits names the steps that must be done before s, by their numbers.
func waits(s Step, number map[string]int) string {
	if len(s.After) == 0 {
		return ""
	}
	var n []string
	for _, id := range s.After {
		n = append(n, fmt.Sprint(number[id]))
	}
	return ", after " + strings.Join(n, ", ")
}
