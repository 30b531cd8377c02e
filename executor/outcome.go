package executor

import (
	"errors"
	"time"

	"healer/planner"
	"healer/topology"
)

// ErrCancelled is the cause with which an operator's cancellation ends the
// context of a run (context.WithCancelCause). A context that ends for another
// reason means that the agent stops and another one goes on: that is no news.
var ErrCancelled = errors.New("cancelled by an operator")

// State is how a run ended.
type State string

// The states of a run.
const (
	// Nothing: the plan had no steps.
	Nothing State = "nothing"
	// Verified: the recovery is complete and the survivors are equal.
	Verified State = "verified"
	// Rejoined: the returned node is part of the mesh again.
	Rejoined State = "rejoined"
	// Failed: something is left to do; Err says what stood in the way.
	Failed State = "failed"
	// Yielded: another coordinator is in possession of some of it and goes on
	// with that, or another plan comes first; all the rest is done.
	Yielded State = "yielded"
	// Cancelled: the run's context ended.
	Cancelled State = "cancelled"
)

// StepState is how one step ended.
type StepState string

// The states of a step.
const (
	// StepPending: the run ended before the step's turn.
	StepPending StepState = "pending"
	// StepDone: this run did it.
	StepDone StepState = "done"
	// StepAlready: it was done before this run came to it.
	StepAlready StepState = "already"
	// StepFailed: it could not be done.
	StepFailed StepState = "failed"
	// StepYielded: another coordinator is doing it, or another plan comes first.
	StepYielded StepState = "yielded"
	// StepCancelled: the run was cancelled meanwhile.
	StepCancelled StepState = "cancelled"
	// StepBlocked: a step it depends on was not done.
	StepBlocked StepState = "blocked"
)

// ok reports whether steps that depend on this one may go on.
func (s StepState) ok() bool { return s == StepDone || s == StepAlready }

// StepOutcome is how one step went.
type StepOutcome struct {
	Step  planner.Step
	State StepState
	// Attempts counts the tries, of which the last one decided.
	Attempts int
	Started  time.Time
	Duration time.Duration
	Evidence string
	Figures  map[string]int64
	// Conflicts is nil when there were none.
	Conflicts *topology.ConflictLog
	Err       error
}

// Outcome is how a run went.
type Outcome struct {
	State State
	// Run names the run in the journal and in events.
	Run string
	// Plan is the plan as it was after the observe step, less the lanes that
	// failed.
	Plan planner.Plan
	// Err is the first permanent error, or else the first error. A
	// *planner.Refusal is in its chain when the observe step found that the
	// recovery must not go on.
	Err error
	// Replan is true when a new plan may succeed where this one did not: a
	// node was lost meanwhile, or an obstacle that may pass did not pass in
	// time.
	Replan bool
	// Steps are in the plan's order, with those that never had their turn.
	Steps    []StepOutcome
	Started  time.Time
	Duration time.Duration
}
