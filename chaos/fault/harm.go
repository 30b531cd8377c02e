package fault

import (
	"slices"
	"time"
)

// Harm is what a set of faults takes away while it is in force.
type Harm struct {
	// Lost are the nodes whose servers a majority of the agents may be unable to talk
	// to: a verdict of failed about these is right, and about no other.
	Lost []string
	// NoMajority: the agents are certainly so few, or so divided, that no majority of
	// them hears one another.
	NoMajority bool
	// Destroys are the origins of which something may be gone that a recovery needs.
	Destroys []string
	// Rewinds are the nodes that are taken back to an older state.
	Rewinds []string
	// Spares: a lost server may as well have gone on, as one whose disk is full does until
	// it has to write.
	Spares bool
	// Skewed are the nodes whose agents have another time.
	Skewed []string
}

// slowProbe is the delay of a link from which on probes over it may run into their
// limit: there and back it is a good part of 500 ms.
const slowProbe = 150 * time.Millisecond

// narrowProbe is the rate below which they may.
const narrowProbe = 16 << 10

// Struck is a fault with the node that it befell where the fault does not say.
type Struck struct {
	Fault
	On string
}

// HarmOf is what the faults take away together. Of a lost server it rather says too
// much, of a lost majority rather too little: who is judged by it gets the benefit of
// the doubt.
func HarmOf(nodes []string, faults []Struck) Harm {
	m := newMap(nodes)
	var h Harm
	for _, f := range faults {
		m.strike(f)
		h.add(f, nodes)
	}
	most := len(nodes)/2 + 1
	for _, s := range nodes {
		blind := 0
		for _, a := range nodes {
			if m.serverDown[s] || m.agentDown[a] || m.deaf[[2]string{a, s}] {
				blind++
			}
		}
		if blind >= most {
			h.Lost = append(h.Lost, s)
		}
	}
	h.NoMajority = m.largest() < most
	return h
}

func (h *Harm) add(f Struck, nodes []string) {
	switch f.Kind {
	case SlotDrop:
		h.Destroys = append(h.Destroys, f.Node)
		if f.Slot == "recovery" {
			// The slots on a source cover what it has of every other node.
			h.Destroys = nodes
		}
	case BackupRestore:
		h.Rewinds = append(h.Rewinds, f.Node)
		h.Destroys = append(h.Destroys, f.Node)
	case DiskFull:
		h.Spares = true
	case ClockStep:
		h.Skewed = append(h.Skewed, f.Node)
	default:
	}
}

// connections is who can talk to whom.
type connections struct {
	nodes      []string
	serverDown map[string]bool
	agentDown  map[string]bool
	// deaf has the agents and servers between which a probe may fail, apart the agents
	// that certainly do not hear one another.
	deaf, apart map[[2]string]bool
}

func newMap(nodes []string) *connections {
	return &connections{
		nodes: nodes, serverDown: map[string]bool{}, agentDown: map[string]bool{},
		deaf: map[[2]string]bool{}, apart: map[[2]string]bool{},
	}
}

// strike takes away what one fault may take away.
func (m *connections) strike(f Struck) {
	switch f.Kind {
	case ServerKill, PostmasterKill, ServerStop, ServerFreeze, RecoveryCrash, RestartStorm, ProcessKill, BackupRestore, DiskFull:
		m.serverDown[f.Node] = true
	case NodeKill:
		m.serverDown[f.Node], m.agentDown[f.Node] = true, true
	case AgentKill, AgentStop, AgentFreeze:
		m.agentDown[f.Node] = true
	case NATSLeaderLoss:
		m.agentDown[f.On] = true
	case Command:
		m.serverDown[f.Node] = m.serverDown[f.Node] || f.Lost
	case LinkCut, LinkSlow, LinkNarrow, LinkReset, LinkHalfOpen, LinkRefuse:
		m.link(f)
	default: // a fault of one session, slot or clock takes nobody away
	}
}

func (m *connections) link(f Struck) {
	weak := f.Kind == LinkSlow && f.Delay < slowProbe || f.Kind == LinkNarrow && f.Rate > narrowProbe || f.Kind == LinkReset
	for _, p := range f.others(m.nodes) {
		switch {
		case f.Link == SQL && !weak:
			m.deaf[[2]string{f.Node, p}] = true
		case f.Link == All && !weak:
			m.deaf[[2]string{f.Node, p}], m.deaf[[2]string{p, f.Node}] = true, true
		}
		certain := f.Kind == LinkCut && (f.Way == "" || f.Way == Both)
		if certain && slices.Contains([]Layer{Gossip, Agents, All}, f.Link) {
			m.apart[[2]string{f.Node, p}], m.apart[[2]string{p, f.Node}] = true, true
		}
	}
	// An agent that sees no other's server, and is not heard, has no voice; one that is
	// only cut off from the others is counted by largest.
}

// largest is how many agents the largest group has that may hear one another, over
// others if need be.
func (m *connections) largest() int {
	best, seen := 0, map[string]bool{}
	for _, n := range m.nodes {
		if seen[n] || m.agentDown[n] {
			continue
		}
		group := []string{n}
		seen[n] = true
		for i := 0; i < len(group); i++ {
			for _, p := range m.nodes {
				if !seen[p] && !m.agentDown[p] && !m.apart[[2]string{group[i], p}] {
					seen[p] = true
					group = append(group, p)
				}
			}
		}
		best = max(best, len(group))
	}
	return best
}

// Strikes are the servers and agents that a fault needs for itself: two faults of one
// of them at the same time are none, since the first to end would end both.
func (f Fault) Strikes() []string {
	server, agent := "server of "+f.Node, "agent of "+f.Node
	switch f.Kind {
	case ServerKill, PostmasterKill, ServerStop, ServerFreeze, RecoveryCrash, RestartStorm, ProcessKill, ProcessFreeze,
		BackendsTerminate, DiskFull, SlotDrop, SubscriptionDisable, BackupRestore:
		return []string{server}
	case AgentKill, AgentStop, AgentFreeze, ClockStep:
		return []string{agent}
	case NodeKill:
		return []string{server, agent}
	case NATSLeaderLoss:
		return []string{"agent of the leader"}
	default:
		return nil
	}
}
