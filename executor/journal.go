package executor

import (
	"errors"
	"time"

	"healer/planner"
	"healer/topology"
)

// EntryKind is what a line of the journal says.
type EntryKind string

// The kinds of entries.
const (
	// EntryBegin: a run begins, with its plan.
	EntryBegin EntryKind = "begin"
	// EntryPlan: the observe step has put this plan in its place.
	EntryPlan EntryKind = "plan"
	// EntryIntent: a step is about to be tried.
	EntryIntent EntryKind = "intent"
	// EntryAttempt: a try failed and is repeated.
	EntryAttempt EntryKind = "attempt"
	// EntryStep: a step ended.
	EntryStep EntryKind = "step"
	// EntryEnd: the run ended. A run without it was killed.
	EntryEnd EntryKind = "end"
)

// Entry is one line of the journal.
type Entry struct {
	Event EntryKind `json:"event"`
	// Seq numbers the entries of a run from 1 on; 0 in those of older versions.
	Seq int `json:"seq,omitempty"`
	// At is when it was written, by the clock of this server.
	At       time.Time `json:"at"`
	Run      string    `json:"run"`
	Recovery string    `json:"recovery"`
	Agent    string    `json:"agent"`
	// Node is the lost or returned node, Incarnation the life it lost.
	Node        string `json:"node,omitempty"`
	Incarnation string `json:"incarnation,omitempty"`

	Plan *planner.Plan `json:"plan,omitempty"`
	Step *planner.Step `json:"step,omitempty"`
	// State is a StepState, or in the last entry a State.
	State    string `json:"state,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	// Duration is in nanoseconds.
	Duration time.Duration    `json:"duration,omitempty"`
	Evidence string           `json:"evidence,omitempty"`
	Figures  map[string]int64 `json:"figures,omitempty"`
	// Conflicts are all that were counted, and the first
	// topology.ListedConflicts of them.
	Conflicts *topology.ConflictLog `json:"conflicts,omitempty"`
	Error     string                `json:"error,omitempty"`
	Hint      string                `json:"hint,omitempty"`
	Replan    bool                  `json:"replan,omitempty"`
}

// Recorder keeps what runs do, for later reading. The executor never reads it.
type Recorder interface {
	// Record appends the entries as one group. It does not wait for a disk or a
	// network: what it has taken survives the end of the process.
	Record(entries ...Entry) error
}

// Recorders are several as one.
type Recorders []Recorder

// Record implements Recorder.
func (rs Recorders) Record(entries ...Entry) error {
	var errs []error
	for _, r := range rs {
		errs = append(errs, r.Record(entries...))
	}
	return errors.Join(errs...)
}

// note records an entry. Nothing depends on it: the catalogs decide.
func (r *run) note(e Entry) {
	if !r.alive() {
		return
	}
	// The order of the numbers is that of the records.
	r.noting.Lock()
	defer r.noting.Unlock()
	r.noted++
	e.Seq, e.At, e.Run, e.Recovery, e.Agent = r.noted, r.cfg.Now().UTC(), r.id, r.head.ID, r.cfg.Agent
	e.Node, e.Incarnation = r.head.Node, r.head.Incarnation
	if err := r.cfg.Journal.Record(e); err != nil {
		r.log.Error("journal is not written", "err", err)
	}
}

func stepEntry(o StepOutcome) Entry {
	return Entry{
		Event: EntryStep, Step: &o.Step, State: string(o.State), Attempts: o.Attempts, Duration: o.Duration,
		Evidence: clip(o.Evidence), Figures: o.Figures, Conflicts: o.Conflicts, Error: text(o.Err), Hint: hintOf(o.Err),
	}
}

func endEntry(o Outcome) Entry {
	return Entry{
		Event: EntryEnd, State: string(o.State), Duration: o.Duration,
		Error: text(o.Err), Hint: hintOf(o.Err), Replan: o.Replan,
	}
}
