package app

import (
	"context"
	"slices"

	"healer/api"
	"healer/planner"
	"healer/postgres/engine"
	"healer/topology"
)

// Plans implements api.PlanSource: from what was last observed, no server is asked.
func (a *Agent) Plans(_ context.Context, failed string) ([]api.Plan, error) {
	obs := a.view.observation()
	if failed == "" {
		out := []api.Plan{}
		for _, t := range a.triggers() {
			p, refusal := a.foresee(t, obs)
			out = append(out, planOf(p, refusal))
		}
		return out, nil
	}
	if err := a.known(failed); err != nil {
		return nil, err
	}
	p, refusal := a.foresee(a.supposed(obs, failed), obs)
	return []api.Plan{planOf(p, refusal)}, nil
}

// foresee plans as a pass would, with what was approved.
func (a *Agent) foresee(t planner.Trigger, obs topology.Observation) (planner.Plan, *planner.Refusal) {
	pol := a.policyFor(t.Node, obs)
	p, refusal := planner.Make(t, obs, pol)
	if refusal == nil || refusal.Reason != planner.ModeAdvises {
		return p, refusal
	}
	if shapes := a.approved(p.ID); shapes[p.Shape()] || (len(shapes) > 0 && marked(obs, p.Node, true)) {
		pol.Approved = []string{p.ID}
		return planner.Make(t, obs, pol)
	}
	return p, refusal
}

// supposed is what there is to plan for about a node: its loss, whether it is lost
// or not.
func (a *Agent) supposed(obs topology.Observation, failed string) planner.Trigger {
	lost := []string{failed}
	for _, t := range a.triggers() {
		if t.Kind == planner.Recovery && t.Node == failed {
			return t
		}
		lost = append(lost, t.Lost...)
	}
	slices.Sort(lost)
	t := planner.Trigger{Kind: planner.Recovery, Node: failed, Lost: slices.Compact(lost), Memory: a.memory.node(failed)}
	for _, v := range a.detector.Verdicts() {
		if v.Node == failed {
			t.Incarnation = v.Incarnation
		}
	}
	if n, _ := obs.Node(failed); n.Reachable {
		t.Memory = engine.MemoryOf(n)
		t.Memory.End = endOf(n, a.view.observedAt())
	}
	return t
}

func planOf(p planner.Plan, refusal *planner.Refusal) api.Plan {
	out := api.Plan{
		ID: p.ID, Kind: string(p.Kind), Node: p.Node, Shape: p.Shape(), Survivors: append([]string{}, p.Survivors...),
		Fenced: p.Fenced, Source: p.Source, Watermark: p.Watermark, Unsent: p.Unsent,
		Lanes: []api.PlanLane{}, Steps: []api.PlanStep{},
	}
	for _, l := range p.Lanes {
		out.Lanes = append(out.Lanes, api.PlanLane{Target: l.Target, Source: l.Source, From: l.From, To: l.To, Rows: l.Rows})
	}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, api.PlanStep{
			ID: s.ID, Kind: string(s.Kind), Node: s.Node, Target: s.Target, After: s.After, Before: s.Before, Then: s.Then,
		})
	}
	if refusal == nil {
		refusal = p.Foreseen
	}
	if refusal != nil {
		out.Refusal = &api.Refusal{
			Subject: p.Node, Reason: string(refusal.Reason), Node: refusal.Node, Why: refusal.Why, Remedy: refusal.Remedy,
			Wait: refusal.Wait, Recovery: p.ID,
		}
		if refusal.Reason == planner.ModeAdvises {
			out.Refusal.Plan = out.Shape
		}
	}
	return out
}
