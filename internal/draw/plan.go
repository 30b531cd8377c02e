package draw

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"healer/events"
	"healer/internal/words"
)

// Plans are recoveries and rejoins with their steps, in the order in which they were
// first heard of.
type Plans []*Plan

// Plan is one of them, with the steps that wait included.
type Plan struct {
	ID, Title string
	// End is what came of it; empty while it runs.
	End   string
	steps []step
}

// step is a step of a plan; ended is false while it waits or runs.
type step struct {
	id, name string
	ended    bool
	took     time.Duration
	figures  string
	failed   string
}

// Take learns from an event, if it is one of a plan.
func (ps *Plans) Take(e events.Event) {
	p := ps.of(e)
	switch e.Kind() {
	case events.RecoveryPlanned:
		var d events.Planned
		decode(e, &d)
		p.planned(d, e.Subject)
	case events.RecoveryStep:
		var d events.Step
		decode(e, &d)
		p.ended(d)
	case events.RecoveryVerified, events.NodeRejoined, events.RecoveryFailed, events.RecoveryCancelled:
		p.End = string(e.Kind()) + " " + Line(words.Of(e))
	}
}

// of returns the plan that the event belongs to.
func (ps *Plans) of(e events.Event) *Plan {
	if e.Recovery == "" {
		return &Plan{}
	}
	i := slices.IndexFunc(*ps, func(p *Plan) bool { return p.ID == e.Recovery })
	if i < 0 {
		*ps = append(*ps, &Plan{ID: e.Recovery, Title: "healing of " + Line(e.Subject)})
		i = len(*ps) - 1
	}
	return (*ps)[i]
}

// planned takes over the steps of a plan that is made, or made anew, and keeps
// what is known of those that have ended.
func (p *Plan) planned(d events.Planned, node string) {
	p.Title = Line(d.Plan + " of " + node)
	was := p.steps
	p.steps = nil
	for _, s := range d.Steps {
		next := step{id: s.ID, name: Line(words.Step(events.Step{Kind: s.Kind, Node: s.Node, Target: s.Target}))}
		if i := slices.IndexFunc(was, func(o step) bool { return o.id == s.ID }); i >= 0 {
			next = was[i]
		}
		p.steps = append(p.steps, next)
	}
}

func (p *Plan) ended(d events.Step) {
	s := step{
		id: d.Step, name: Line(words.Step(d)), ended: true, failed: Line(d.Error),
		took: time.Duration(d.DurationMS) * time.Millisecond, figures: strings.TrimPrefix(words.Figures(d.Figures), ", "),
	}
	if i := slices.IndexFunc(p.steps, func(o step) bool { return o.id == s.id }); i >= 0 {
		p.steps[i] = s
		return
	}
	p.steps = append(p.steps, s)
}

// Lines are the plan's steps, each with how long it took.
func (p *Plan) Lines(now time.Duration) []string {
	c := Colours()
	longest := time.Millisecond
	for _, s := range p.steps {
		longest = max(longest, s.took)
	}
	lines := make([]string, 0, len(p.steps))
	for _, s := range p.steps {
		switch {
		case s.failed != "":
			lines = append(lines, Paint(c.Bad, "✗ ")+Fit(s.name, 20)+s.failed)
		case !s.ended && p.End == "":
			lines = append(lines, Paint(c.Warn, Spinner(now)+" ")+Paint(c.Dim, s.name))
		case !s.ended:
			lines = append(lines, Paint(c.Dim, "· "+s.name))
		default:
			bar := strings.Repeat("━", 1+int(11*s.took/longest))
			lines = append(lines, Paint(c.Good, "✔ ")+Fit(s.name, 20)+Fit(Paint(c.Accent, bar), 13)+Fit(words.Duration(s.took), 8)+Paint(c.Dim, s.figures))
		}
	}
	return lines
}

// decode reads an event's data; what cannot be read stays zero.
func decode(e events.Event, into any) { _ = json.Unmarshal(e.Data, into) }
