package executor

import (
	"context"
	"log/slog"
	"time"

	"healer/events"
	"healer/planner"
)

// Handler does the work of one kind of step.
//
// Both methods are given the plan as it stands: after a lane has failed, the
// plan no longer holds that lane nor its target among the survivors. Errors are
// classified by topology.ClassOf; an unclassified error is permanent.
type Handler interface {
	// Check reads from the catalogs whether the step is done already. The
	// evidence says what was read, for the journal.
	Check(ctx context.Context, p planner.Plan, s planner.Step) (done bool, evidence string, err error)
	// Apply does the step. It may be called again after an error, and after a
	// crash at any point of an earlier call.
	Apply(ctx context.Context, p planner.Plan, s planner.Step) (Result, error)
}

// Result is what a step has to show for itself.
type Result struct {
	Evidence string
	// Figures are counts under the Figure names; others are passed on.
	Figures map[string]int64
}

// The figures that the outcome of a recovery is summed up from.
const (
	// FigureMissing: transactions in the lane's gap, applied now or earlier.
	FigureMissing = "missing"
	// FigureTransactions: transactions applied on the target by this step.
	FigureTransactions = "transactions"
	// FigureCompared and FigureRepaired: rows, by the verify step.
	FigureCompared = "rows_compared"
	FigureRepaired = "rows_repaired"
)

// Replanner makes the plan anew at the observe step, when the fences hold all
// progress still.
type Replanner interface {
	// Replan returns the plan that follows from the mesh as it is now; it must
	// have the given plan's id.
	Replan(ctx context.Context, p planner.Plan) (planner.Plan, *planner.Refusal, error)
}

// Config is what an Executor needs. Agent, Handlers, Replanner and Publisher
// must be given.
type Config struct {
	// Agent is the node whose agent runs plans.
	Agent string
	// Handlers is the table of verbs; StepObserve is the executor's own.
	Handlers  map[planner.StepKind]Handler
	Replanner Replanner
	Publisher events.Publisher
	// Journal is nil when nothing is to be remembered.
	Journal Recorder
	// Logger discards when nil.
	Logger *slog.Logger
	// Deadlines bounds each kind of step, over all of its attempts; kinds not
	// listed have the default of DefaultDeadlines.
	Deadlines map[planner.StepKind]time.Duration
	// Lost returns the nodes judged lost now, as the detector has it. A step
	// that acts on a lost node is given up at once. Nil: none is ever lost.
	Lost func() []string
	// Now is time.Now when nil.
	Now func() time.Time
	// NewRun names a run; nil: 128 random bits.
	NewRun func() string
	// Failpoint is for tests: it is called at every boundary, and an error
	// ends the run on the spot, as if the process had died there.
	Failpoint func(At, planner.Step) error
}
