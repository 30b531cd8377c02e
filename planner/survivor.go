package planner

import (
	"slices"
	"strings"

	"healer/topology"
)

// survivor is a node that takes part in a plan, with what the plan turns on.
type survivor struct {
	topology.NodeState
	sub topology.Subscription
	// fenced: the mark is there, the subscription is disabled and no worker is
	// left, so progress stands still.
	fenced bool
	// mark is the gap mark of an unverified recovery; nil when there is none.
	mark *topology.GapMark
	// holds is the last LSN of the lost node up to which this one has
	// everything; known is false when nothing tells.
	holds topology.LSN
	known bool
}

// alive returns the configured nodes that are neither lost nor the trigger's,
// or refuses when one of them cannot be read: whether it holds the newest
// transactions, or lacks them, nobody can tell then. Those in without are left
// out instead: what they hold, or lack, is healed once they can be read.
func alive(t Trigger, obs topology.Observation, without []string) ([]topology.NodeState, *Refusal) {
	var out []topology.NodeState
	for _, n := range obs.Nodes {
		if n.Name == t.Node || slices.Contains(t.Lost, n.Name) || (!n.Reachable && slices.Contains(without, n.Name)) {
			continue
		}
		if !n.Reachable {
			return nil, refuse(NodeUnreachable, n.Name, "see "+n.Name+" in: healer status",
				"%s is not judged lost, yet it cannot be read (%s): what it holds is unknown",
				n.Name, n.Problem).wait(true)
		}
		out = append(out, n)
	}
	return out, nil
}

// survivors picks from the nodes that are alive those that take part in a plan
// for the trigger's node: primaries that subscribe to it. A node that does not
// subscribe to it holds nothing of it and lacks nothing of it; a standby has
// what its primary has.
func survivors(t Trigger, nodes []topology.NodeState) ([]survivor, *Refusal) {
	var out []survivor
	for _, n := range nodes {
		if n.InRecovery || rebuilding(n.Name, nodes) {
			continue
		}
		if refusal := versioned(n); refusal != nil {
			return nil, refusal
		}
		sub, ok, refusal := subscriptionTo(n, t.Node)
		if refusal != nil {
			return nil, refusal
		}
		if !ok {
			continue
		}
		if f, blocked := n.Blocked(); blocked {
			return nil, refuse(NodeNotReady, n.Name, f.Remedy, "%s cannot take part: %s (%s)", n.Name, f.Detail, f.Code)
		}
		s := survivor{NodeState: n, sub: sub}
		marked := hasFence(n, t.Node, sub.Name)
		if !sub.Enabled && !marked {
			return nil, refuse(SubscriptionDisabled, n.Name,
				"on "+n.Name+": ALTER SUBSCRIPTION "+sub.Name+" ENABLE, or DROP SUBSCRIPTION "+sub.Name,
				"subscription %s of %s, which reads from %s, was disabled by somebody else: Healer leaves it alone",
				sub.Name, n.Name, t.Node)
		}
		s.fenced = marked && !sub.Enabled && sub.Worker != topology.WorkerIdle && sub.Worker != topology.WorkerBusy
		if g, ok := n.GapOf(t.Node); ok {
			s.mark = &g
		}
		s.holds, s.known = holds(s, t.Memory)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b survivor) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// oldest is the first version whose subscriptions can be told not to forward
// what they receive (origin = none). Other engines' subscriptions say it themselves, and
// a finding says when a server is too old for them.
const oldest = 160000

// unread are the findings of a server whose subscriptions were not read.
func unread(n topology.NodeState) (topology.Finding, bool) {
	i := slices.IndexFunc(n.Findings, func(f topology.Finding) bool {
		return f.Blocking && slices.Contains([]string{"version", "engine_missing", "engine_unread"}, f.Code)
	})
	if i < 0 {
		return topology.Finding{}, false
	}
	return n.Findings[i], true
}

// versioned refuses a mesh with a server whose subscriptions cannot be read for
// what they are: it would be taken for one that has none.
func versioned(n topology.NodeState) *Refusal {
	if f, ok := unread(n); ok && n.Engine != "" {
		return refuse(VersionUnfit, n.Name, f.Remedy, "%s: %s", n.Name, f.Detail)
	}
	if n.Version == 0 || n.Version >= oldest || n.Engine != "" {
		return nil
	}
	return refuse(VersionUnfit, n.Name, "upgrade "+n.Name+" to PostgreSQL 16 or newer",
		"%s runs PostgreSQL %d: a mesh of native logical replication needs 16 or newer on every node",
		n.Name, n.Version/10000)
}

// rebuilding reports whether a mark says that the node's tables are being filled:
// it holds nothing that counts yet, and gets what it lacks from its source.
func rebuilding(node string, nodes []topology.NodeState) bool {
	return slices.ContainsFunc(nodes, func(n topology.NodeState) bool {
		bar, ok := n.BarOf(node)
		return ok && bar.Reason == topology.BarRebuild
	})
}

// subscriptionTo finds n's one subscription to provider.
func subscriptionTo(n topology.NodeState, provider string) (topology.Subscription, bool, *Refusal) {
	var found []topology.Subscription
	unknown := ""
	for _, s := range n.Subscriptions {
		switch s.Provider {
		case provider:
			found = append(found, s)
		case "":
			unknown = s.Name
		}
	}
	switch {
	case len(found) > 1:
		return topology.Subscription{}, false, refuse(ManySubscriptions, n.Name, "join them into one subscription on "+n.Name,
			"%s has %d subscriptions to %s: their gaps differ and only one can be healed", n.Name, len(found), provider)
	case len(found) == 1:
		return found[0], true, nil
	case unknown != "":
		return topology.Subscription{}, false, refuse(ProviderUnknown, n.Name, "see "+n.Name+" in: healer status",
			"nobody knows which node subscription %s of %s reads from: it may be %s", unknown, n.Name, provider).wait(true)
	}
	return topology.Subscription{}, false, nil
}

// hasFence reports whether n's subscription of that name is marked as fenced
// off from origin. A mark that outlived its subscription fences nothing.
func hasFence(n topology.NodeState, origin, subscription string) bool {
	return slices.ContainsFunc(n.Fences, func(f topology.Fence) bool {
		return f.Origin == origin && f.Subscription == subscription
	})
}

// holds tells up to where s has everything of the lost node: its progress; or,
// when it has not applied a single transaction, the gap mark that an earlier
// run left, or what it had confirmed to the lost node while that one lived.
func holds(s survivor, m topology.Memory) (topology.LSN, bool) {
	switch {
	case s.sub.Progress > 0:
		return s.sub.Progress, true
	case s.mark != nil:
		return s.mark.From, true
	default:
		lsn := m.Confirmed[s.Name]
		return lsn, lsn > 0
	}
}
