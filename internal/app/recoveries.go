package app

import (
	"context"
	"errors"

	"healer/api"
	"healer/executor"
	"healer/topology"
)

// Recoveries implements api.RecoverySource from the journal.
func (a *Agent) Recoveries(context.Context) ([]api.Run, error) {
	past, err := a.journal.History()
	runs := make([]api.Run, 0, len(past))
	for _, p := range past {
		runs = append(runs, runOf(p))
	}
	return runs, err
}

// runOf is a run as the journal has it, for the API. One without an end is under
// way, or was killed: the journal does not know.
func runOf(p executor.Past) api.Run {
	out := outcomeOf(p)
	r, ended := recoveryOf(p.Plan, out)
	if !ended {
		r = api.Recovery{
			Kind: string(p.Kind), Node: p.Node, State: string(p.State), Source: p.Plan.Source,
			Started: p.Started, Duration: api.Duration(p.Duration), Error: p.Error, Hint: p.Hint,
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
		run.Steps = append(run.Steps, api.RunStep{
			Kind: string(s.Step.Kind), Node: s.Step.Node, Target: s.Step.Target, State: string(s.State),
			Attempts: s.Attempts, Started: s.Started, Duration: api.Duration(s.Duration),
			Evidence: s.Evidence, Figures: s.Figures, Error: s.Error, Hint: s.Hint,
		})
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
