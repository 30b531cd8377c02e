package planner

import "healer/topology"

// Make decides.
func Make(t Trigger, obs topology.Observation, pol Policy) (Plan, *Refusal) {
	_, _, _ = t, obs, pol
	return Plan{}, nil
}

// Explain is the plan as text for an operator.
func Explain(p Plan) string { return p.ID }
