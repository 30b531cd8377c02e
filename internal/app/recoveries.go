package app

import (
	"context"
	"errors"
	"slices"

	"healer/api"
	"healer/executor"
	"healer/topology"
)

// Recoveries implements api.RecoverySource: from the own journal, in which all is,
// and from what the stream of events has of other agents' and of what was rotated
// away here.
func (a *Agent) Recoveries(context.Context) ([]api.Run, error) {
	entries, err := a.journal.Entries()
	past := executor.Replay(append(entries, a.book.all()...))
	runs := make([]api.Run, 0, len(past))
	for _, p := range past {
		run := runOf(p)
		if run.State == api.RecoveryRunning && !a.underWay(p) {
			run.State = api.RecoveryInterrupted
		}
		runs = append(runs, run)
	}
	return runs, err
}

// underWay reports whether a run without an end can still have one. The journal
// does not know: its agent may have been killed.
func (a *Agent) underWay(p executor.Past) bool {
	if p.Agent != a.node {
		return slices.Contains(a.detector.Agents(), p.Agent)
	}
	_, _, current, _, _ := a.view.snapshot()
	return current != nil && current.ID == p.Recovery
}

// runOf is a run as the journal has it, for the API. One without an end is under
// way, or was killed: the journal does not know.
func runOf(p executor.Past) api.Run {
	out := outcomeOf(p)
	r, ended := recoveryOf(p.Plan, out)
	if !ended {
		r = api.Recovery{
			Kind: string(p.Kind), Node: p.Node, State: string(p.State), Source: p.Plan.Source,
			Started: p.Started, Duration: api.Duration(p.Duration), Error: p.Error, Hint: p.Hint, Unsent: p.Plan.Unsent,
		}
		if p.State == "" {
			r.State = api.RecoveryRunning
		}
	}
	r.ID = p.Recovery
	met := executor.Conflicts(out.Steps)
	run := api.Run{
		Recovery: r, Run: p.Run, Agent: p.Agent, Incarnation: p.Incarnation,
		Survivors: p.Plan.Survivors, Watermark: p.Plan.Watermark, Listed: met.Rows,
	}
	for _, s := range p.Steps {
		step := api.RunStep{
			Kind: string(s.Step.Kind), Node: s.Step.Node, Target: s.Step.Target, State: string(s.State),
			Attempts: s.Attempts, Started: s.Started, Duration: api.Duration(s.Duration),
			Evidence: s.Evidence, Figures: s.Figures, Error: s.Error, Hint: s.Hint,
		}
		for _, t := range s.Tries {
			step.Tries = append(step.Tries, api.RunTry{At: t.At, Error: t.Error})
		}
		run.Steps = append(run.Steps, step)
	}
	return run
}

// outcomeOf is what the journal has of a run's outcome.
func outcomeOf(p executor.Past) executor.Outcome {
	out := executor.Outcome{State: p.State, Plan: p.Plan, Started: p.Started, Duration: p.Duration}
	if p.Error != "" {
		out.Err = &topology.Fault{Hint: p.Hint, Err: errors.New(p.Error)}
	}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, executor.StepOutcome{Step: s.Step, Figures: s.Figures, Conflicts: s.Conflicts})
	}
	return out
}
