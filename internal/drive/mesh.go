package drive

import (
	"context"
	"fmt"
	"strings"
	"time"

	"healer/config"
	"healer/internal/reach"
	"healer/planner"
	"healer/postgres/engine"
	"healer/topology"
)

// mesh is the cluster as its servers say it is.
type mesh struct {
	*reach.Cluster
	cfg *config.Config
}

// open makes the handles. Nothing is connected to yet.
func open(c *config.Config) (*mesh, error) {
	r, err := reach.Open(c, nil)
	if err != nil {
		return nil, err
	}
	return &mesh{Cluster: r, cfg: c}, nil
}

// observe reads all nodes, with what the agents know besides.
func (m *mesh) observe(ctx context.Context) topology.Observation {
	return m.Observe(ctx, m.learn)
}

// learn fills in which node a subscription reads from where no server could tell
// and an agent remembers.
func (m *mesh) learn(ctx context.Context, obs topology.Observation) {
	agents := reach.Agents(ctx, m.cfg)
	for _, n := range m.cfg.Nodes { // in their order: the first to know it counts
		for _, node := range agents[n.Name].Nodes {
			state, _ := obs.Node(node.Name)
			for i := range state.Subscriptions {
				sub := &state.Subscriptions[i] // shares its memory with obs
				for _, known := range node.Subscriptions {
					if sub.Provider == "" && sub.Name == known.Name {
						sub.Provider = known.Provider
					}
				}
			}
		}
	}
}

// trigger is the loss of a node, whether it lives or not. Others that do not
// answer are taken for lost too: nothing can be planned on them.
func (m *mesh) trigger(ctx context.Context, obs topology.Observation, failed string) planner.Trigger {
	t := planner.Trigger{Kind: planner.Recovery, Node: failed, Incarnation: "by hand", Lost: []string{failed}}
	for _, n := range obs.Nodes {
		switch {
		case n.Name == failed && n.Reachable:
			t.Memory = engine.MemoryOf(n)
			t.Memory.End = topology.LogEnd{Identity: n.Identity, Flushed: n.Flushed, At: time.Now()}
		case n.Name == failed:
			t.Memory.End = m.logEnd(ctx, failed)
		case n.Name != failed && !n.Reachable:
			t.Lost = append(t.Lost, n.Name)
		}
	}
	return t
}

// logEnd is the furthest that an agent knows of a node's log; zero when none does.
func (m *mesh) logEnd(ctx context.Context, node string) topology.LogEnd {
	ctx, cancel := context.WithTimeout(ctx, agentsWithin)
	defer cancel()
	var end topology.LogEnd
	agents := reach.Agents(ctx, m.cfg)
	for _, n := range m.cfg.Nodes { // in their order: of several logs the first counts
		for _, seen := range agents[n.Name].Nodes {
			if seen.Name != node || seen.LogEnd == nil || n.Name == node {
				continue
			}
			if end.Flushed == 0 || (end.SameLog(*seen.LogEnd) && seen.LogEnd.Flushed > end.Flushed) {
				end = *seen.LogEnd
			}
		}
	}
	return end
}

// known refuses a node that is not in the file.
func (m *mesh) known(flag, node string) error {
	if _, ok := m.cfg.Node(node); ok {
		return nil
	}
	if node == "" {
		return fmt.Errorf("--%s is missing: name one of %s", flag, strings.Join(m.cfg.Names(), ", "))
	}
	return fmt.Errorf("--%s %s: the file has no such node, but %s", flag, node, strings.Join(m.cfg.Names(), ", "))
}
