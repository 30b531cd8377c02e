package app

import (
	"context"

	"healer/planner"
	"healer/topology"
)

// bar marks on the survivors that a node was refused for good, where the reason
// will not show any more when its log has grown: from then on it would look like
// the node that was lost. Nobody is fenced off from such a node before the mark is there,
// because the fence is lifted from one that looks so. It reports whether a plan may go on.
func (a *Agent) bar(ctx context.Context, t planner.Trigger, p planner.Plan, r *planner.Refusal, obs topology.Observation) bool {
	refused := r != nil && p.Kind == planner.Rejoin && r.Reason == planner.BehindWatermark
	if !refused && planner.Rewound(p.Node, obs, t.Memory) == nil {
		return true
	}
	begins, all := r == nil && !p.Empty(), true
	f, _ := obs.Node(p.Node)
	for _, n := range obs.Nodes {
		_, fenced := n.FenceOf(p.Node)
		_, reads := n.From(p.Node)
		if _, barred := n.BarOf(p.Node); barred || (!fenced && (!begins || !reads)) {
			continue
		}
		err := a.engine.Bar(ctx, n.Name, p.Node, string(planner.BehindWatermark), f.Identity)
		if err != nil && ctx.Err() == nil {
			a.log.Warn("a refused node is not marked: tried again at the next pass", "node", p.Node, "on", n.Name, "error", err)
		}
		all = all && err == nil
	}
	return all
}
