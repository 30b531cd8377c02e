package planner

import (
	"fmt"
	"slices"

	"healer/topology"
)

// Unsent is what nobody but node has, as far as can be told while it is lost: how
// far it had flushed its log, against the most that a node which is there has of
// it. A node that cannot be read may have more, which only makes it less.
//
// Beside what the survivors have applied counts what they had confirmed: a position
// behind which nothing is meant for them.
func Unsent(node string, lost []string, obs topology.Observation, m topology.Memory) topology.Unsent {
	held := topology.LSN(0)
	for _, n := range obs.Nodes {
		sub, reads := n.From(node)
		if n.Name == node || !reads || !n.Reachable || n.InRecovery || slices.Contains(lost, n.Name) || rebuilding(n.Name, obs.Nodes) {
			continue
		}
		held = max(held, sub.Progress, m.Confirmed[n.Name])
	}
	switch {
	case m.End.Flushed == 0:
		return topology.Unsent{UnsentUnknown: "no agent that is left has heard how far " + node + " had written its log"}
	case m.Identity.Known() && m.Identity.SystemID != m.End.Identity.SystemID:
		return topology.Unsent{UnsentUnknown: fmt.Sprintf("the log last heard of is that of another server (system identifier %d) than %s was (%d)",
			m.End.Identity.SystemID, node, m.Identity.SystemID)}
	case held == 0:
		return topology.Unsent{UnsentUnknown: "no survivor that can be read has received anything of " + node, UnsentAsOf: m.End.At}
	}
	bytes := int64(0)
	if m.End.Flushed > held {
		bytes = int64(m.End.Flushed - held) //nolint:gosec // a distance
	}
	return topology.Unsent{UnsentBytes: &bytes, UnsentAsOf: m.End.At}
}
