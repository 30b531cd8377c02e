package executor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"healer/events"
	"healer/planner"
	"healer/topology"
)

// Handler does the work of one kind of step.
//
// Its methods are given the plan as it stands: once a lane has failed, the plan
// holds neither that lane nor its target among the survivors. Errors are
// classified by topology.ClassOf; an unclassified error is permanent. A method
// must return soon after its context ended.
type Handler interface {
	// Check reads from the catalogs whether the step is done already. The
	// evidence says what was read, for the journal.
	Check(ctx context.Context, p planner.Plan, s planner.Step) (done bool, evidence string, err error)
	// Apply does the step. It may be called again after an error, and after a
	// crash at any point of an earlier call.
	//
	// A release drops the clone on s.Node; the gap mark on s.Target only when
	// the target is among the plan's survivors, because the clone of a target
	// that is lost is dropped as well.
	Apply(ctx context.Context, p planner.Plan, s planner.Step) (Result, error)
}

// Result is what a step has to show for itself.
type Result struct {
	Evidence string
	// Figures are counts under the Figure names; others are passed on.
	Figures map[string]int64
	// Conflicts are those that the step met and what it did about them. They
	// count with an error, too. Nil: none.
	Conflicts *topology.ConflictLog
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
	// FigureConflicts: conflicts met while applying.
	FigureConflicts = "conflicts"
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
	// listed have the deadline of DefaultDeadlines.
	Deadlines map[planner.StepKind]time.Duration
	// Lost returns the nodes judged lost now, as the detector has it. A step
	// that acts on a lost node is given up within a second. Nil: none is ever
	// lost.
	Lost func() []string
	// Now is time.Now when nil.
	Now func() time.Time
	// NewRun names a run; nil: 26 random characters.
	NewRun func() string
	// Failpoint is for tests: it is called at every boundary, and an error
	// ends the run on the spot, as if the process had died there.
	Failpoint func(At, planner.Step) error
}

// DefaultDeadlines is how long each kind of step may take, over all of its
// attempts. They end what hangs; a node that dies is noticed by Config.Lost.
func DefaultDeadlines() map[planner.StepKind]time.Duration {
	return map[planner.StepKind]time.Duration{
		planner.StepFence:     2 * time.Minute,
		planner.StepObserve:   time.Minute,
		planner.StepClone:     time.Minute,
		planner.StepAdvance:   5 * time.Minute,
		planner.StepSubscribe: 2 * time.Hour,
		planner.StepRows:      2 * time.Hour,
		planner.StepVerify:    time.Hour,
		planner.StepRelease:   2 * time.Minute,
		planner.StepCheck:     time.Minute,
		planner.StepUnfence:   time.Minute,
		planner.StepDrain:     time.Hour,
		planner.StepCompare:   2 * time.Hour,
	}
}

// rechecked are the kinds whose success leaves something in the catalogs that
// Check reads back: Apply is not believed before it does.
func rechecked() map[planner.StepKind]bool {
	return map[planner.StepKind]bool{
		planner.StepFence: true, planner.StepClone: true, planner.StepRelease: true, planner.StepUnfence: true,
	}
}

// Executor runs plans. It is safe for concurrent use; it holds no state of a
// run.
type Executor struct {
	cfg     Config
	recheck map[planner.StepKind]bool
}

// New checks the configuration, so that a missing handler shows here and not in
// the middle of a recovery.
func New(cfg Config) (*Executor, error) {
	if cfg.Agent == "" || cfg.Replanner == nil || cfg.Publisher == nil {
		return nil, errors.New("executor: agent, replanner and publisher must be given")
	}
	deadlines := DefaultDeadlines()
	for k := range deadlines {
		if k != planner.StepObserve && cfg.Handlers[k] == nil {
			return nil, fmt.Errorf("executor: no handler for steps of kind %q", k)
		}
	}
	maps.Copy(deadlines, cfg.Deadlines)
	cfg.Deadlines = deadlines
	if cfg.Journal == nil {
		cfg.Journal = forgetful{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Lost == nil {
		cfg.Lost = func() []string { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewRun == nil {
		cfg.NewRun = rand.Text
	}
	if cfg.Failpoint == nil {
		cfg.Failpoint = func(At, planner.Step) error { return nil }
	}
	return &Executor{cfg: cfg, recheck: rechecked()}, nil
}

// forgetful is the journal of an executor that has none.
type forgetful struct{}

func (forgetful) Record(...Entry) error { return nil }
