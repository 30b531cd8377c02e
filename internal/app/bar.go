package app

import (
	"context"

	"healer/planner"
	"healer/topology"
)

// bar marks on the survivors that a node was refused for good, where the reason
// will not show any more when its log has grown: from then on it would look like
// the node that was lost.
func (a *Agent) bar(ctx context.Context, p planner.Plan, r *planner.Refusal, obs topology.Observation) {
	if r == nil || p.Kind != planner.Rejoin || r.Reason != planner.BehindWatermark {
		return
	}
	f, _ := obs.Node(p.Node)
	for _, n := range obs.Nodes {
		_, fenced := n.FenceOf(p.Node)
		if _, barred := n.BarOf(p.Node); barred || !fenced {
			continue
		}
		err := a.engine.Bar(ctx, n.Name, p.Node, string(r.Reason), f.Identity)
		if err != nil && ctx.Err() == nil {
			a.log.Warn("a refused node is not marked: tried again at the next pass", "node", p.Node, "on", n.Name, "error", err)
		}
	}
}
