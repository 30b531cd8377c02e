package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/api"
	"healer/config"
	"healer/internal/reach"
	"healer/planner"
	"healer/postgres"
	"healer/topology"
)

const (
	// agentAnswers bounds the wait for the agents.
	agentAnswers = 2 * time.Second
	// knownWithin is how long a subscription's provider may take to say who it is.
	knownWithin = 10 * time.Second
)

// mesh is the cluster as a command sees it.
type mesh struct {
	*reach.Cluster
	cfg *config.Config
	// agents has the status of each agent that answers, by its node.
	agents map[string]api.Status
	seen   topology.Observation
}

// open connects to the cluster and reads it. Without the named nodes, which may
// be down, every subscription's provider is known then.
func open(ctx context.Context, c *config.Config) (*mesh, error) {
	err := reach.CanAsk(c)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, agentAnswers)
	defer cancel()
	m := &mesh{cfg: c, agents: reach.Agents(limited, c)}
	if m.Cluster, err = reach.Open(c, m.feeds()); err != nil {
		return nil, err
	}
	if err := m.observe(ctx); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// observe reads all nodes until the provider of every subscription is known, as
// far as it is going to be.
func (m *mesh) observe(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	for {
		if seen := m.Engine.ObserveAll(limited); limited.Err() == nil || len(m.seen.Nodes) == 0 {
			m.seen = seen
		}
		if m.seen.ProvidersKnown() || postgres.Pause(limited, 100*time.Millisecond) != nil {
			return ctx.Err()
		}
	}
}

// feeds is what the agents know of which slot feeds whom: a node that is down
// cannot be asked.
func (m *mesh) feeds() map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, s := range m.agents {
		for _, f := range s.Feeds {
			if out[f.Node] == nil {
				out[f.Node] = map[string]string{}
			}
			out[f.Node][f.Name] = f.For
		}
	}
	return out
}

// others are the nodes but one.
func (m *mesh) others(node string) []topology.NodeState {
	return slices.DeleteFunc(slices.Clone(m.seen.Nodes), func(n topology.NodeState) bool { return n.Name == node })
}

// known refuses a node that the file does not have.
func (m *mesh) known(node string) error {
	if _, ok := m.cfg.Node(node); ok {
		return nil
	}
	return &topology.Fault{
		Code: "node_unknown", Hint: "the file has " + strings.Join(m.cfg.Names(), ", "),
		Err: fmt.Errorf("node %q is not in the file of cluster %s", node, m.cfg.Cluster),
	}
}

// readable refuses unless every other node can be read.
func (m *mesh) readable(node string) error {
	for _, n := range m.others(node) {
		if !n.Reachable {
			return &topology.Fault{
				Class: topology.Transient, Code: "node_unreachable", Node: n.Name,
				Hint: "see that the server runs and accepts the DSN", Err: lastLine(n.Problem),
			}
		}
	}
	return nil
}

// majority refuses unless more than half of the configured nodes can be read. A
// lost node does not count, though it may be read by now.
func (m *mesh) majority(lost string) error {
	alive := 0
	for _, n := range m.seen.Nodes {
		if n.Reachable && !n.InRecovery && n.Name != lost {
			alive++
		}
	}
	if 2*alive > len(m.seen.Nodes) {
		return nil
	}
	return &topology.Fault{
		Class: topology.Transient, Code: "no_majority", Hint: "start the other nodes",
		Err: fmt.Errorf("%d of %d configured nodes can be read: what destroys something needs the majority", alive, len(m.seen.Nodes)),
	}
}

// healed reports, as an error, why no verified recovery stands behind the loss of
// the node: a survivor that is not fenced off from it, lacks what another has, or
// has rows that nobody has compared yet.
func (m *mesh) healed(node string) error {
	lost := []string{node}
	for _, n := range m.seen.Nodes {
		if !n.Reachable && n.Name != node {
			lost = append(lost, n.Name)
		}
	}
	p, refusal := planner.Make(planner.Trigger{Kind: planner.Recovery, Node: node, Lost: lost}, m.seen, planner.Policy{Mode: planner.ModeAuto})
	if refusal != nil {
		return &topology.Fault{Code: string(refusal.Reason), Node: refusal.Node, Hint: refusal.Remedy, Err: errors.New(refusal.Why)}
	}
	if !p.Empty() {
		return &topology.Fault{
			Code: "not_verified", Node: node, Hint: "wait for recovery.verified: healer status",
			Err: fmt.Errorf("the recovery of %s is not finished: %s", node, p.Steps[0].Before),
		}
	}
	return nil
}

// lastLine is the last of the lines in which the driver tells what it tried.
func lastLine(problem string) error {
	lines := strings.Split(strings.TrimSpace(problem), "\n")
	return errors.New(strings.TrimSpace(lines[len(lines)-1]))
}
