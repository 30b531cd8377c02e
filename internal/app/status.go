package app

import (
	"context"
	"slices"
	"time"

	"healer/api"
	"healer/control"
	"healer/detector"
	"healer/planner"
	"healer/topology"
)

// Status implements api.Source from memory.
func (a *Agent) Status(context.Context) api.Status {
	obs, at, current, last, refusals := a.view.snapshot()
	s := api.Status{
		Cluster: a.cfg.Cluster, Agent: a.node, Mode: string(a.cfg.Mode), Version: a.version, At: at,
		Control: a.control.Active(time.Now()), Current: current, Last: last, Refusals: refusals,
		Slots: slotsOf(obs, a.cfg.Slots.WarnBytes), Progress: progressOf(obs, a.lags),
		Feeds: feedsOf(obs),
	}
	_, s.Paused = a.control.Get(control.Pause, "", time.Now())
	agents, verdicts, builds := a.detector.Agents(), a.detector.Verdicts(), a.gossip.Builds()
	unsent := situation{verdicts: verdicts, obs: obs}.unsent(a.memory.node)
	for _, v := range verdicts {
		state, _ := obs.Node(v.Node)
		state.Findings = append(slices.Clip(state.Findings), unlike(v.Node, obs, a.memory.node)...)
		n := nodeOf(v, state, slices.Contains(agents, v.Node))
		n.Uncompared = uncompared(v.Node, obs)
		n.Unsent, n.AgentVersion = unsent[v.Node], builds[v.Node]
		if end := a.memory.ends.of(v.Node); end.Flushed != 0 {
			n.LogEnd = &end
		}
		s.Nodes = append(s.Nodes, n)
	}
	s.Witnesses = witnessesOf(a.cfg.WitnessNames(), agents, builds)
	if a.capped() {
		s.Advice = cappedText
	}
	bus := a.bus.Status()
	s.NATS = api.NATS{Connected: bus.Connected, Problem: bus.Problem, StreamReady: bus.StreamReady, OutboxDepth: bus.Pending}
	if a.broker != nil {
		s.NATS.Refused = a.broker.Refused()
	}
	s.Gossip = gossipOf(a.gossip.Status(), time.Now())
	for _, h := range a.hooks.Status() {
		s.Hooks = append(s.Hooks, api.Hook(h))
	}
	for _, c := range a.certificates {
		s.Certificates = append(s.Certificates, c.status())
	}
	s.State, s.Reasons = api.Assess(s)
	return s
}

// unlike is the finding that a node is not the one that the others were reading from. It
// does not block: it is fenced off, and takes part in the recoveries of others until then.
func unlike(node string, obs topology.Observation, memory recalls) []topology.Finding {
	r := planner.Unlike(node, obs, memory(node))
	if r == nil {
		return nil
	}
	return []topology.Finding{{Code: string(r.Reason), Detail: r.Why, Remedy: r.Remedy}}
}

// uncompared are the nodes whose gaps were carried while that one was away.
func uncompared(node string, obs topology.Observation) (origins []string) {
	for _, n := range obs.Nodes {
		for _, o := range n.OwedTo(node) {
			origins = append(origins, o.Origin)
		}
	}
	slices.Sort(origins)
	return slices.Compact(origins)
}

func nodeOf(v detector.Verdict, n topology.NodeState, agent bool) api.Node {
	_, blocked := n.Blocked()
	out := api.Node{
		Name: v.Node, Life: string(v.Life), Reason: v.Reason, Since: v.At, AgentAlive: agent,
		Reachable: n.Reachable, Problem: n.Problem, Ready: n.Reachable && !blocked,
		Findings: n.Findings, Version: n.Version, Subscriptions: []api.Subscription{},
		Unwatched: v.Unwatched, Conditions: conditionsOf(v),
	}
	if v.HoldDown > 0 {
		out.Flapping = &api.Flapping{Failures: len(v.Failures), HoldDown: api.Duration(v.HoldDown), Held: v.Held}
	}
	for _, sub := range n.Subscriptions {
		fenced := slices.ContainsFunc(n.Fences, func(f topology.Fence) bool { return f.Subscription == sub.Name })
		out.Subscriptions = append(out.Subscriptions, api.Subscription{
			Name: sub.Name, Provider: sub.Provider, Enabled: sub.Enabled, Worker: sub.Worker, Fenced: fenced,
		})
	}
	return out
}

// progressOf is the matrix of origins and nodes.
func progressOf(obs topology.Observation, behind *lags) []api.Progress {
	rows := []api.Progress{}
	for _, origin := range obs.Nodes {
		var newest topology.LSN
		first := len(rows)
		for _, n := range obs.Nodes {
			sub, ok := n.From(origin.Name)
			if !ok {
				continue
			}
			newest = max(newest, sub.Progress)
			p := api.Progress{Origin: origin.Name, Node: n.Name, LSN: sub.Progress}
			if lag, known := behind.of(origin.Name, n.Name); known {
				p.Lag = (*api.Duration)(&lag)
			}
			rows = append(rows, p)
		}
		for i := first; i < len(rows); i++ {
			rows[i].Missing = uint64(newest - rows[i].LSN)
		}
	}
	return rows
}

func feedsOf(obs topology.Observation) []api.Feed {
	rows := []api.Feed{}
	for _, n := range obs.Nodes {
		for _, s := range n.Slots {
			if s.Kind == topology.SlotMesh {
				rows = append(rows, api.Feed{Node: n.Name, For: s.To, Name: s.Name})
			}
		}
	}
	return rows
}

func slotsOf(obs topology.Observation, warn int64) []api.Slot {
	rows := []api.Slot{}
	for _, n := range obs.Nodes {
		for _, s := range n.Slots {
			if s.Kind == topology.SlotForeign {
				continue
			}
			rows = append(rows, api.Slot{
				Node: n.Name, For: s.To, Name: s.Name, Kind: s.Kind, Confirmed: s.Confirmed,
				RetainedBytes: s.RetainedBytes, WALStatus: s.WALStatus, AtRisk: s.RetainedBytes >= warn,
				Lag: uint64(max(n.Flushed, s.Confirmed) - s.Confirmed),
			})
		}
	}
	return rows
}
