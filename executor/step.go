package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"healer/planner"
	"healer/topology"
)

// At names a boundary at which a test can kill a run.
type At string

// The boundaries of a step.
const (
	// BeforeApply: Check said that there is something to do.
	BeforeApply At = "before_apply"
	// AfterApply: it is done, and nobody has been told.
	AfterApply At = "after_apply"
)

// Codes of the faults that the executor itself reports.
const (
	// CodeNodeLost: the step acts on a node that is judged lost by now.
	CodeNodeLost = "node_lost"
	// CodeDeadline: no attempt succeeded within the step's deadline.
	CodeDeadline = "deadline"
	// CodeNotDone: Apply reported success, and Check does not see it.
	CodeNotDone = "not_done"
	// CodeNotFenced: a fence of this run does not hold.
	CodeNotFenced = "not_fenced"
	// CodeWrongPlan: the replanner returned a plan of something else.
	CodeWrongPlan = "wrong_plan"
	// CodeUnclassified: the error carries no fault.
	CodeUnclassified = "unclassified"
)

// lostPoll is how often a step under way asks whether its node is lost. The
// detector takes longer than that to conclude anything.
const lostPoll = 500 * time.Millisecond

// attempt is one try of a step.
type attempt func(ctx context.Context, p planner.Plan, s planner.Step) (StepState, Result, error)

// action is a step with all of its tries.
type action func(ctx context.Context, p planner.Plan, s planner.Step) StepOutcome

// once asks whether the step is done, does it, and where the catalogs can tell,
// asks again.
func (r *run) once(ctx context.Context, p planner.Plan, s planner.Step) (StepState, Result, error) {
	if s.Kind == planner.StepObserve {
		return r.observe(ctx, p)
	}
	h, ok := r.cfg.Handlers[s.Kind]
	if !ok {
		return "", Result{}, topology.Faultf(topology.Permanent, "unknown_step", "no handler for steps of kind %q", s.Kind)
	}
	done, evidence, err := h.Check(ctx, p, s)
	if err != nil {
		return "", Result{}, fmt.Errorf("check: %w", err)
	}
	if done {
		return StepAlready, Result{Evidence: evidence}, nil
	}
	if err := r.failpoint(BeforeApply, s); err != nil {
		return "", Result{}, err
	}
	res, err := h.Apply(ctx, p, s)
	looks := s.Kind == planner.StepCheck || s.Kind == planner.StepDrain
	if !looks && (err == nil || topology.ClassOf(err) != topology.Conflict) {
		r.announceStart()
	}
	if err != nil {
		return "", res, err
	}
	if err := r.failpoint(AfterApply, s); err != nil {
		return "", Result{}, err
	}
	if !r.recheck[s.Kind] {
		return StepDone, res, nil
	}
	done, evidence, err = h.Check(ctx, p, s)
	switch {
	case err != nil:
		return "", res, fmt.Errorf("check afterwards: %w", err)
	case !done:
		return "", res, &topology.Fault{
			Class: topology.Transient, Code: CodeNotDone, Node: s.Node,
			Err: fmt.Errorf("%s is not done although it succeeded: %s", s.Kind, evidence),
		}
	}
	return StepDone, res, nil
}

// watched ends the attempt when a node it acts on is judged lost: a server that
// vanished without a word would else hold it until the deadline.
func (r *run) watched(next attempt) attempt {
	return func(ctx context.Context, p planner.Plan, s planner.Step) (StepState, Result, error) {
		if f := r.lostOf(p, s); f != nil {
			return "", Result{}, f
		}
		ctx, end := UntilLost(ctx, lostPoll, func() error {
			if f := r.lostOf(p, s); f != nil {
				return f
			}
			return nil
		})
		state, res, err := next(ctx, p, s)
		var f *topology.Fault
		if err != nil && errors.As(context.Cause(ctx), &f) && f.Code == CodeNodeLost {
			err = lostDuring(f, err)
		}
		end()
		return state, res, err
	}
}

// lostDuring is the loss that ended an attempt, with what the attempt says of it. That may
// be the loss again, which must not come to hold itself.
func lostDuring(loss *topology.Fault, err error) *topology.Fault {
	f := *loss
	if !errors.Is(err, loss) {
		f.Err = fmt.Errorf("%w (%w)", loss.Err, err)
	}
	return &f
}

// UntilLost is ctx as long as lost, which is asked so often, has no error; that is its
// cause then. Call end.
func UntilLost(ctx context.Context, every time.Duration, lost func() error) (waiting context.Context, end func()) {
	waiting, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-waiting.Done():
				return
			case <-tick.C:
				if err := lost(); err != nil {
					cancel(err)
					return
				}
			}
		}
	}()
	return waiting, func() { cancel(nil); <-stopped }
}

// lostOf names a lost node among those the step acts on.
func (r *run) lostOf(p planner.Plan, s planner.Step) *topology.Fault {
	lost := r.cfg.Lost()
	for _, n := range actsOn(p, s) {
		if slices.Contains(lost, n) {
			return &topology.Fault{
				Class: topology.Transient, Code: CodeNodeLost, Node: n,
				Hint: "nothing to do: the plan is made anew without it",
				Err:  fmt.Errorf("%s was judged lost during step %s", n, s.Kind),
			}
		}
	}
	return nil
}

// actsOn lists the servers a step needs alive. A release may be for a target
// that is lost: then it needs only the server that holds the clone.
func actsOn(p planner.Plan, s planner.Step) []string {
	var out []string
	if s.Node != "" {
		out = append(out, s.Node)
	}
	if slices.Contains(p.Survivors, s.Target) {
		out = append(out, s.Target)
	}
	if s.Kind == planner.StepVerify || s.Kind == planner.StepRows || s.Kind == planner.StepCompare {
		out = append(out, p.Survivors...)
	}
	if p.Kind == planner.Rejoin && s.Kind != planner.StepRelease {
		out = append(out, p.Node)
	}
	return out
}

// retried repeats the attempt while its errors are transient and the step's
// deadline allows it.
func (r *run) retried(next attempt) action {
	return func(parent context.Context, p planner.Plan, s planner.Step) StepOutcome {
		out := StepOutcome{Step: s}
		ctx, cancel := context.WithTimeout(parent, r.cfg.Deadlines[s.Kind])
		defer cancel()
		var last error
		_, err := backoff.Retry(ctx, func() (struct{}, error) {
			out.Attempts++
			var res Result
			out.State, res, last = next(ctx, p, s)
			out.Evidence, out.Figures = res.Evidence, res.Figures
			out.Conflicts = nil
			if res.Conflicts != nil && len(res.Conflicts.Counts) > 0 {
				out.Conflicts = res.Conflicts
			}
			if last == nil {
				return struct{}{}, nil
			}
			if !retryable(last) {
				return struct{}{}, backoff.Permanent(last)
			}
			r.note(Entry{Event: EntryAttempt, Step: &s, Attempts: out.Attempts, Error: text(last)})
			r.log.Debug("step failed, trying again", "step", s.Kind, "node", s.Node, "target", s.Target, "err", last)
			return struct{}{}, last
		}, backoff.WithBackOff(pause()), backoff.WithMaxElapsedTime(0))
		if err == nil {
			return out
		}
		out.State, out.Err = judge(parent, ctx, s, last)
		return out
	}
}

// pause is the wait between two attempts: from about 100 ms to about 5 s, each
// scattered by half, so that two agents do not keep in step.
func pause() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 100 * time.Millisecond
	b.Multiplier = 1.7
	b.MaxInterval = 5 * time.Second
	return b
}

// retryable: a lost node does not come back by trying again.
func retryable(err error) bool {
	return topology.ClassOf(err) == topology.Transient && codeOf(err) != CodeNodeLost
}

// judge says what the last error makes of the step.
func judge(parent, step context.Context, s planner.Step, last error) (StepState, error) {
	switch {
	case parent.Err() != nil:
		return StepCancelled, fmt.Errorf("%w: %w", context.Cause(parent), last)
	case topology.ClassOf(last) == topology.Conflict:
		return StepYielded, last
	case step.Err() != nil && codeOf(last) != CodeNodeLost:
		return StepFailed, &topology.Fault{
			Class: topology.Transient, Code: CodeDeadline, Node: s.Node, Hint: hintOf(last),
			Err: fmt.Errorf("%s did not succeed within its deadline: %w", s.Kind, last),
		}
	default:
		return StepFailed, last
	}
}

// codeOf is the code of the outermost fault, or CodeUnclassified.
func codeOf(err error) string {
	if f, ok := errors.AsType[*topology.Fault](err); ok {
		return f.Code
	}
	return CodeUnclassified
}

// hintOf is the remedy of the outermost fault that has one.
func hintOf(err error) string {
	for err != nil {
		f, ok := errors.AsType[*topology.Fault](err)
		if !ok {
			return ""
		}
		if f.Hint != "" {
			return f.Hint
		}
		err = f.Err
	}
	return ""
}
