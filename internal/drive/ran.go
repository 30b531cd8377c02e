package drive

import (
	"fmt"
	"io"
	"time"

	"healer/executor"
	"healer/planner"
	"healer/topology"
)

// ran is the result of `healer recovery run` for programs.
type ran struct {
	planned
	DryRun bool `json:"dry_run"`
	// Outcome is nil when nothing was carried out.
	Outcome *outcome `json:"outcome,omitempty"`

	t   planner.Trigger
	obs topology.Observation
	// again is true when another try may succeed; err is why this one did not.
	again bool
	err   error
}

// outcome is how it went.
type outcome struct {
	State      executor.State `json:"state"`
	Run        string         `json:"run"`
	DurationMS int64          `json:"duration_ms"`
	Steps      []stepped      `json:"steps"`
	Error      string         `json:"error,omitempty"`
	// Events says what became of the events.
	Events string `json:"events"`
}

// stepped is how one step went.
type stepped struct {
	Kind       planner.StepKind   `json:"kind"`
	Node       string             `json:"node,omitempty"`
	Target     string             `json:"target,omitempty"`
	State      executor.StepState `json:"state"`
	Attempts   int                `json:"attempts"`
	DurationMS int64              `json:"duration_ms"`
	Evidence   string             `json:"evidence,omitempty"`
	Figures    map[string]int64   `json:"figures,omitempty"`
	Error      string             `json:"error,omitempty"`
}

// take takes in what a run came to, with the plan as it was behind the fences.
func (d *ran) take(out executor.Outcome) {
	o := &outcome{State: out.State, Run: out.Run, DurationMS: out.Duration.Milliseconds()}
	for _, s := range out.Steps {
		step := stepped{
			Kind: s.Step.Kind, Node: s.Step.Node, Target: s.Step.Target, State: s.State, Attempts: s.Attempts,
			DurationMS: s.Duration.Milliseconds(), Evidence: s.Evidence, Figures: s.Figures,
		}
		if s.Err != nil {
			step.Error = s.Err.Error()
		}
		o.Steps = append(o.Steps, step)
	}
	if out.Err != nil {
		o.Error = out.Err.Error()
	}
	if out.State == executor.Verified {
		d.Plan = out.Plan // else it lacks what could not be done
	}
	d.Outcome, d.err = o, out.Err
	d.again = out.State == executor.Yielded || (out.State == executor.Failed && out.Replan)
}

// explain shows the plan.
func (d *ran) explain(w io.Writer) { explain(w, d.Plan, d.t, d.obs) }

func (d *ran) table(w io.Writer) {
	if d.Refusal == nil || !d.Empty() {
		d.explain(w)
	}
	if d.Outcome == nil {
		return
	}
	o := d.Outcome
	fmt.Fprintf(w, "\nrun %s: %s after %s\n", o.Run, o.State, (time.Duration(o.DurationMS) * time.Millisecond))
	row(w, "STEP", "ON", "TARGET", "STATE", "TOOK", "TRIES", "EVIDENCE")
	for _, s := range o.Steps {
		said := s.Evidence
		if s.Error != "" {
			said = s.Error
		}
		row(w, s.Kind, s.Node, s.Target, s.State, time.Duration(s.DurationMS)*time.Millisecond, s.Attempts, said)
	}
	fmt.Fprintf(w, "events: %s\n", o.Events)
}
