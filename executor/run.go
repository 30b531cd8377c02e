package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"healer/planner"
	"healer/topology"
)

// maxRounds bounds how often one run fences survivors that turn up at the
// observe step: a mesh that never settles is for another run.
const maxRounds = 5

// run is one execution of a plan. The loop in steps owns everything but what
// the mutex guards; the goroutines of steps get values.
type run struct {
	*Executor
	id  string
	log *slog.Logger
	// head is the plan as it was given: what does not change of it may be read
	// by every step.
	head planner.Plan
	// plan is the plan as it stands; its Steps are what is to be done.
	plan planner.Plan
	// past are outcomes of steps that the plan no longer has.
	past []StepOutcome
	out  map[string]StepOutcome
	// busy are the ids of steps under way.
	busy   map[string]bool
	rounds int
	// given are the laggards whose lanes did not make it.
	given []string

	cancel context.CancelCauseFunc
	do     action

	// noting orders the entries of the journal, noted counts them.
	noting sync.Mutex
	noted  int

	started sync.Once
	mu      sync.Mutex
	// next is the plan that the observe step found.
	next *planner.Plan
	// dead is set by a failpoint: nothing is told from then on.
	dead error
}

// Run carries the plan out. Steps start when all they depend on is done; those
// that do not depend on each other run side by side.
//
// A lane that fails or is in another coordinator's hands does not stop the
// others: they are verified and released without it. Its gap mark and its clone
// stay, so the next plan takes it up where it was. Any other failure ends what
// depends on it.
//
// Run returns when every goroutine it started has ended, also when the context
// ends.
func (e *Executor) Run(parent context.Context, p planner.Plan) Outcome {
	r := &run{
		Executor: e, id: e.cfg.NewRun(), head: p, plan: p,
		out: map[string]StepOutcome{}, busy: map[string]bool{},
	}
	r.log = e.cfg.Logger.With("recovery", p.ID, "run", r.id, "node", p.Node)
	began := e.cfg.Now()
	if p.Empty() {
		return Outcome{State: Nothing, Run: r.id, Plan: p, Started: began}
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	r.cancel = cancel
	r.do = r.announced(r.journaled(r.timed(r.retried(r.watched(r.once)))))

	r.note(Entry{Event: EntryBegin, Plan: &p})
	r.announcePlan(p)
	r.steps(ctx)
	o := r.outcome(parent)
	o.Started, o.Duration = began, e.cfg.Now().Sub(began)
	r.announceEnd(o, context.Cause(parent))
	r.note(endEntry(o))
	return o
}

// steps is the loop: start what is ready, wait for one to end, again.
func (r *run) steps(ctx context.Context) {
	var g errgroup.Group
	ended := make(chan StepOutcome)
	for {
		for _, s := range r.ready(ctx) {
			p := r.plan
			r.busy[s.ID] = true
			g.Go(func() error {
				ended <- r.do(ctx, p, s)
				return nil
			})
		}
		if len(r.busy) == 0 {
			break
		}
		r.settle(<-ended)
	}
	_ = g.Wait() // every step's error is in its outcome
}

// ready returns the steps whose turn it is, and marks those whose turn never
// comes.
func (r *run) ready(ctx context.Context) []planner.Step {
	if ctx.Err() != nil {
		return nil
	}
	var out []planner.Step
	for again := true; again; {
		again = false
		out = out[:0]
		for _, s := range r.plan.Steps {
			if _, over := r.out[s.ID]; over || r.busy[s.ID] {
				continue
			}
			switch r.turn(s) {
			case turnNow:
				out = append(out, s)
			case turnNever:
				r.out[s.ID] = StepOutcome{Step: s, State: StepBlocked}
				again = true
			case turnLater:
			}
		}
	}
	return out
}

type turn int

const (
	turnLater turn = iota
	turnNow
	turnNever
)

// turn says whether a step may start. The verify step is where lanes meet: it
// waits for all of them, and is content with one that made it.
func (r *run) turn(s planner.Step) turn {
	good, bad, open := 0, 0, 0
	for _, id := range s.After {
		o, over := r.out[id]
		switch {
		case over && o.State.ok():
			good++
		case over || !r.has(id):
			bad++
		default:
			open++
		}
	}
	meeting := s.Kind == planner.StepVerify && (open > 0 || good > 0)
	switch {
	case bad > 0 && !meeting:
		return turnNever
	case open > 0:
		return turnLater
	default:
		return turnNow
	}
}

// has reports whether the plan has the step at all.
func (r *run) has(id string) bool {
	return slices.ContainsFunc(r.plan.Steps, func(s planner.Step) bool { return s.ID == id })
}

// settle takes in how a step ended.
func (r *run) settle(o StepOutcome) {
	delete(r.busy, o.Step.ID)
	r.out[o.Step.ID] = o
	switch {
	case o.State.ok() && o.Step.Kind == planner.StepObserve:
		r.swap()
	case o.State.ok() && o.Step.Kind == planner.StepVerify:
		r.announceVerified()
	case !o.State.ok() && o.Step.Target != "" && o.Step.Kind != planner.StepRelease:
		r.given = append(r.given, o.Step.Target)
		r.plan = r.plan.Without(o.Step.Target)
	}
}

// observe makes the plan anew. A plan whose fences do not hold although this
// run set them all is tried again: a worker may still be ending.
func (r *run) observe(ctx context.Context, p planner.Plan) (StepState, Result, error) {
	next, refusal, err := r.cfg.Replanner.Replan(ctx, p)
	if err != nil {
		return "", Result{}, err
	}
	if refusal != nil {
		f := &topology.Fault{Code: string(refusal.Reason), Node: refusal.Node, Hint: refusal.Remedy, Err: refusal}
		switch {
		// What the next pass sees as well, and says in the status while it lasts.
		case refusal.Reason == planner.RecoveryRunning, refusal.Reason == planner.TableLocked:
			f.Class = topology.Conflict
		case refusal.Wait:
			f.Class = topology.Transient
		}
		return "", Result{}, f
	}
	if next.ID != p.ID {
		return "", Result{}, topology.Faultf(topology.Permanent, CodeWrongPlan, "the new plan is %s, not %s", next.ID, p.ID)
	}
	if !next.Fenced && !newFences(p, next) {
		return "", Result{}, topology.Faultf(topology.Transient, CodeNotFenced, "a survivor that was fenced is not any more")
	}
	r.mu.Lock()
	r.next = &next
	r.mu.Unlock()
	return StepDone, Result{
		Evidence: fmt.Sprintf("watermark %s on %s, %d laggards", next.Watermark, next.Source, len(next.Lanes)),
	}, nil
}

// newFences reports whether next fences somebody whom p does not.
func newFences(p, next planner.Plan) bool {
	return slices.ContainsFunc(next.Steps, func(s planner.Step) bool {
		return s.Kind == planner.StepFence && !slices.ContainsFunc(p.Steps, func(o planner.Step) bool { return o.ID == s.ID })
	})
}

// swap puts the observed plan in the place of the old one. What is done stays
// done. When the new plan has to fence further survivors, their progress was not
// still when it was made: those fences come first, and then another look.
func (r *run) swap() {
	r.mu.Lock()
	next := *r.next
	r.mu.Unlock()
	again := !next.Fenced && newFences(r.plan, next)
	for _, s := range r.plan.Steps {
		if o, over := r.out[s.ID]; over && !slices.ContainsFunc(next.Steps, func(n planner.Step) bool { return n.ID == s.ID }) {
			r.past = append(r.past, o)
		}
	}
	r.plan = next
	r.note(Entry{Event: EntryPlan, Plan: &next})
	r.announcePlan(next)
	if !again {
		return
	}
	r.rounds++
	for _, s := range next.Steps {
		if s.Kind != planner.StepObserve {
			continue
		}
		o := r.out[s.ID]
		delete(r.out, s.ID)
		if r.rounds >= maxRounds {
			o.State = StepFailed
			o.Err = topology.Faultf(topology.Transient, CodeNotFenced, "new survivors turned up %d times", r.rounds)
			r.out[s.ID] = o
		}
	}
}

// outcome sums the run up.
func (r *run) outcome(parent context.Context) Outcome {
	o := Outcome{Run: r.id, Plan: r.plan, State: Verified, Steps: slices.Clone(r.past)}
	if r.plan.Kind == planner.Rejoin {
		o.State = Rejoined
	}
	for _, s := range r.plan.Steps {
		so, over := r.out[s.ID]
		if !over {
			so = StepOutcome{Step: s, State: StepPending}
		}
		o.Steps = append(o.Steps, so)
	}
	states, worst := map[StepState]bool{}, 0
	for _, so := range o.Steps {
		states[so.State] = true
		if so.State == StepFailed && topology.ClassOf(so.Err) == topology.Transient {
			o.Replan = true
		}
		if w := weight(so); w > worst {
			worst, o.Err = w, so.Err
		}
	}
	switch {
	case r.dead != nil:
		o.State, o.Err = Failed, r.dead
	case parent.Err() != nil && (states[StepCancelled] || states[StepPending]):
		o.State, o.Err = Cancelled, errors.Join(context.Cause(parent), o.Err)
	case states[StepFailed]:
		o.State = Failed
	case states[StepYielded]:
		o.State = Yielded
	}
	return o
}

// weight orders errors by what an operator must know of first: what stays, what
// may pass, what others are doing.
func weight(o StepOutcome) int {
	switch {
	case o.Err == nil:
		return 0
	case o.State != StepFailed:
		return 1
	case topology.ClassOf(o.Err) == topology.Transient:
		return 2
	default:
		return 3
	}
}

// failpoint lets a test end the run here, as if the process had died.
func (r *run) failpoint(at At, s planner.Step) error {
	err := r.cfg.Failpoint(at, s)
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead == nil {
		r.dead = err
	}
	r.cancel(err)
	return err
}

// alive reports whether the run may still tell anybody anything.
func (r *run) alive() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead == nil
}
