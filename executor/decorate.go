package executor

import (
	"context"

	"healer/planner"
)

// timed fills in when a step began and how long it took.
func (r *run) timed(next action) action {
	return func(ctx context.Context, p planner.Plan, s planner.Step) StepOutcome {
		began := r.cfg.Now()
		out := next(ctx, p, s)
		out.Started, out.Duration = began, r.cfg.Now().Sub(began)
		return out
	}
}

// journaled notes the intent before a step and the outcome after it.
func (r *run) journaled(next action) action {
	return func(ctx context.Context, p planner.Plan, s planner.Step) StepOutcome {
		r.note(Entry{Event: EntryIntent, Step: &s})
		out := next(ctx, p, s)
		r.note(stepEntry(out))
		return out
	}
}

// announced publishes how a step ended, and logs it.
func (r *run) announced(next action) action {
	return func(ctx context.Context, p planner.Plan, s planner.Step) StepOutcome {
		out := next(ctx, p, s)
		log := r.log.With("step", s.Kind, "on", s.Node, "target", s.Target, "state", out.State, "took", out.Duration)
		if out.Err != nil {
			log.Warn("step ended", "err", out.Err)
		} else {
			log.Info("step ended", "evidence", out.Evidence)
		}
		r.announceStep(out)
		return out
	}
}
