package app

import (
	"context"
	"fmt"
	"strings"

	"healer/planner"
	"healer/topology"
)

// windDown releases what a cancelled recovery has left: its clones, and its gap
// marks. Where a part of a gap was carried while the node is lost, the mark stays: it
// alone says which rows the next recovery has to compare. left tells of those; done
// is false when something had to be released, or could not be.
func (a *Agent) windDown(ctx context.Context, t planner.Trigger, obs topology.Observation) (left string, done bool) {
	done = true
	alive := t.Kind == planner.Rejoin
	var parts []string
	for _, n := range obs.Nodes {
		if !n.Reachable {
			continue
		}
		for _, s := range n.Slots {
			if s.Kind == topology.SlotClone && s.Origin == t.Node {
				done = false
				a.released(ctx, n.Name, "clone "+s.Name, a.engine.DropSlot(ctx, n.Name, s.Name))
			}
		}
		gap, marked := n.GapOf(t.Node)
		if !marked {
			continue
		}
		sub, _ := n.From(t.Node)
		carried := sub.Progress > gap.From
		switch {
		case carried && !alive:
			parts = append(parts, fmt.Sprintf("%s has (%s, %s] of (%s, %s], not compared yet, and keeps its mark for the next run",
				n.Name, gap.From, sub.Progress, gap.From, gap.To))
		default:
			done = false
			a.released(ctx, n.Name, "gap mark of "+t.Node, a.engine.UnmarkGap(ctx, n.Name, t.Node, gap.To))
			if carried {
				a.log.Warn("rows that a cancelled recovery carried were not compared: healer verify does",
					"node", t.Node, "on", n.Name, "from", gap.From, "to", sub.Progress)
			}
		}
	}
	return strings.Join(parts, "; "), done
}

// released logs what became of a release. One that failed is tried at the next
// pass: a session of the cancelled run may hold it for a moment.
func (a *Agent) released(ctx context.Context, node, what string, err error) {
	switch {
	case err == nil:
		a.log.Info("released after a cancellation", "on", node, "what", what)
	case ctx.Err() == nil:
		a.log.Warn("not released yet after a cancellation", "on", node, "what", what, "error", err)
	}
}
