package app

import (
	"fmt"
	"time"

	"healer/api"
	"healer/detector/gossip"
	"healer/events"
	"healer/topology"
)

// conflictShown is how long a second agent stands in the status after it was last
// heard of.
const conflictShown = time.Minute

// onConflict tells of a second agent under this one's name. Of the two, the one
// that is refused ends: it could only do harm.
func (a *Agent) onConflict(k gossip.Conflict) {
	if a.gossip.Status().Refused {
		a.fail(&topology.Fault{
			Class: topology.Conflict, Code: "name_in_use", Node: k.Name,
			Err: fmt.Errorf("the agent at %s, which runs since %s, holds the name %s", k.Holder.Addr, k.Holder.Since.UTC().Format(time.RFC3339), k.Name),
			Hint: fmt.Sprintf("run one agent for each node: stop that one, or give this one the --node that it is for; if %s has moved here, wait until its old agent has ended",
				k.Name),
		})
		return
	}
	a.tell(events.Fact{
		Cluster: a.cfg.Cluster, Kind: events.AgentRefused, Node: k.Name, Detail: []string{k.Refused.ID},
	}, events.SecondAgent{
		Node: k.Name, Holder: k.Holder.Addr, HolderSince: k.Holder.Since, Refused: k.Refused.Addr, RefusedSince: k.Refused.Since,
	})
}

// fail ends the agent with an error. Only the first one counts.
func (a *Agent) fail(err error) {
	select {
	case a.fatal <- err:
	default:
	}
}

// gossipOf is the state of gossip as the API shows it.
func gossipOf(g gossip.Status, now time.Time) api.Gossip {
	out := api.Gossip{Encrypted: g.Encrypted, Keys: g.Keys, KeyProblem: g.KeyProblem}
	for _, r := range g.Refusals {
		out.Refused = append(out.Refused, api.GossipRefusal{
			Reason: string(r.Reason), Count: r.Count, Last: r.Last, From: r.From, Detail: r.Detail,
		})
	}
	if g.Conflict != nil && now.Sub(g.ConflictAt) < conflictShown {
		out.SecondAgent = &api.SecondAgent{Addr: g.Conflict.Refused.Addr, Since: g.Conflict.Refused.Since, Seen: g.ConflictAt}
	}
	return out
}
