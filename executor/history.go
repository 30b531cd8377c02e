package executor

import (
	"time"

	"healer/planner"
	"healer/topology"
)

// Past is one run as the journal remembers it.
type Past struct {
	Recovery    string       `json:"recovery"`
	Run         string       `json:"run"`
	Agent       string       `json:"agent"`
	Kind        planner.Kind `json:"kind"`
	Node        string       `json:"node"`
	Incarnation string       `json:"incarnation"`
	// Plan is the last that the run went by.
	Plan    planner.Plan `json:"plan"`
	Started time.Time    `json:"started"`
	// Duration is in nanoseconds; 0 while there is no end.
	Duration time.Duration `json:"duration"`
	// State is empty when the run has no end: it is under way, or was killed.
	State  State      `json:"state"`
	Error  string     `json:"error,omitempty"`
	Hint   string     `json:"hint,omitempty"`
	Replan bool       `json:"replan,omitempty"`
	Steps  []PastStep `json:"steps"`
}

// PastStep is how a step ended; its State is StepPending when it was begun and
// no end is known.
type PastStep struct {
	Step     planner.Step     `json:"step"`
	State    StepState        `json:"state"`
	Attempts int              `json:"attempts"`
	Started  time.Time        `json:"started"`
	Duration time.Duration    `json:"duration"`
	Evidence string           `json:"evidence,omitempty"`
	Figures  map[string]int64 `json:"figures,omitempty"`
	// Conflicts is nil when there were none.
	Conflicts *topology.ConflictLog `json:"conflicts,omitempty"`
	Error     string                `json:"error,omitempty"`
	Hint      string                `json:"hint,omitempty"`
}

// History lists the runs of this agent, oldest first. As with Entries, what can
// be read is returned along with an error for what cannot.
func (j *Journal) History() ([]Past, error) {
	entries, err := j.Entries()
	return history(entries), err
}

// history puts entries together by run. A run whose beginning was rotated away
// is still told of, by what is left.
func history(entries []Entry) []Past {
	var order []string
	runs := map[string]*Past{}
	for _, e := range entries {
		p, ok := runs[e.Run]
		if !ok {
			p = &Past{Recovery: e.Recovery, Run: e.Run, Agent: e.Agent, Started: e.At}
			runs[e.Run] = p
			order = append(order, e.Run)
		}
		p.take(e)
	}
	out := make([]Past, 0, len(order))
	for _, id := range order {
		out = append(out, *runs[id])
	}
	return out
}

// take adds what one entry says.
func (p *Past) take(e Entry) {
	if e.Plan != nil {
		p.Plan, p.Kind, p.Node, p.Incarnation = *e.Plan, e.Plan.Kind, e.Plan.Node, e.Plan.Incarnation
	}
	switch e.Event {
	case EntryIntent:
		if s := p.step(e); s != nil {
			*s = PastStep{Step: *e.Step, State: StepPending, Started: e.At}
		}
	case EntryAttempt:
		if s := p.step(e); s != nil {
			s.Attempts, s.Error = e.Attempts, e.Error
		}
	case EntryStep:
		if s := p.step(e); s != nil {
			s.State, s.Attempts, s.Duration = StepState(e.State), e.Attempts, e.Duration
			s.Conflicts = e.Conflicts
			s.Evidence, s.Figures, s.Error, s.Hint = e.Evidence, e.Figures, e.Error, e.Hint
		}
	case EntryEnd:
		p.State, p.Duration, p.Error, p.Hint, p.Replan = State(e.State), e.Duration, e.Error, e.Hint, e.Replan
	case EntryBegin, EntryPlan:
	}
}

// step finds the step an entry is about, or makes room for it.
func (p *Past) step(e Entry) *PastStep {
	if e.Step == nil {
		return nil
	}
	for i := range p.Steps {
		if p.Steps[i].Step.ID == e.Step.ID {
			return &p.Steps[i]
		}
	}
	p.Steps = append(p.Steps, PastStep{Step: *e.Step, State: StepPending, Started: e.At})
	return &p.Steps[len(p.Steps)-1]
}
