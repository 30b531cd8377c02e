package planner

import (
	"slices"
	"strings"
)

// fits refuses a part that the recovery does not have. Before the fences a source
// may still catch up.
func (o Part) fits(p Plan, all []survivor) *Refusal {
	var ahead, names []string
	for _, s := range all {
		names = append(names, s.Name)
		if s.sub.Progress == p.Watermark {
			ahead = append(ahead, s.Name)
		}
	}
	for _, name := range []string{o.Source, o.Target} {
		if name != "" && !slices.Contains(names, name) {
			return refuse(NotASurvivor, name, "name one of "+strings.Join(names, ", "),
				"%s takes no part in the recovery of %s: it is lost or does not read from it", name, p.Node)
		}
	}
	if o.Source == "" || slices.Contains(ahead, o.Source) {
		return nil
	}
	s := all[slices.Index(names, o.Source)]
	return refuse(SourceBehind, s.Name, "name one that holds all of it as the source: "+strings.Join(ahead, ", "),
		"%s has applied %s up to %s and the watermark is %s: what lies between cannot be carried from it",
		s.Name, p.Node, s.sub.Progress, p.Watermark).wait(!p.Fenced)
}

// targets are the laggards to heal. The others take no part in the plan but for
// the fence: they are not compared either, for what they lack.
func (o Part) targets(p Plan, laggards []survivor) (Plan, []survivor) {
	if o.Target == "" {
		return p, laggards
	}
	var heal []survivor
	for _, s := range laggards {
		if s.Name == o.Target {
			heal = append(heal, s)
			continue
		}
		p.Left = append(p.Left, s.Name)
	}
	p.Survivors = slices.DeleteFunc(slices.Clone(p.Survivors), func(n string) bool { return slices.Contains(p.Left, n) })
	return p, heal
}

// sources are the survivors to carry from. A source that is to be healed itself,
// because an earlier recovery left its mark there, gets it from any.
func (o Part) sources(ranked []survivor, target survivor) []survivor {
	if o.Source == "" || o.Source == target.Name {
		return ranked
	}
	return slices.DeleteFunc(slices.Clone(ranked), func(s survivor) bool { return s.Name != o.Source })
}
