package executor

import (
	"slices"
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
	// Tries are the attempts that failed and were repeated.
	Tries []PastTry `json:"tries,omitempty"`
}

// PastTry is an attempt that failed.
type PastTry struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// History lists the runs of this agent, oldest first. As with Entries, what can
// be read is returned along with an error for what cannot.
func (j *Journal) History() ([]Past, error) {
	entries, err := j.Entries()
	return Replay(entries), err
}

// Replay puts entries together by run, oldest first, whatever their order and
// however often each is there. A run whose beginning is missing is still told of,
// by what is left.
func Replay(entries []Entry) []Past {
	var order []string
	runs := map[string][]Entry{}
	for _, e := range entries {
		if runs[e.Run] == nil {
			order = append(order, e.Run)
		}
		runs[e.Run] = append(runs[e.Run], e)
	}
	out := make([]Past, 0, len(order))
	for _, id := range order {
		out = append(out, replay(runs[id]))
	}
	slices.SortStableFunc(out, func(a, b Past) int { return a.Started.Compare(b.Started) })
	return out
}

// replay puts the entries of one run together.
func replay(entries []Entry) Past {
	slices.SortStableFunc(entries, func(a, b Entry) int { return a.Seq - b.Seq })
	entries = slices.CompactFunc(entries, func(a, b Entry) bool { return a.Seq > 0 && a.Seq == b.Seq })
	first := entries[0]
	p := Past{Recovery: first.Recovery, Run: first.Run, Agent: first.Agent, Node: first.Node, Incarnation: first.Incarnation, Started: first.At}
	for _, e := range entries {
		p.take(e)
	}
	return p
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
			s.Tries = append(s.Tries, PastTry{At: e.At, Error: e.Error})
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
