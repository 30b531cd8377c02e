package gossip

import (
	"maps"
	"slices"
	"time"

	"healer/topology"
)

// Logs has the ends of nodes' logs, for the others to know them when a node is lost.
// Its methods are called under memberlist's locks: they never block.
type Logs interface {
	// Own is the end of the log of this agent's own node, once it was read.
	Own() (topology.LogEnd, bool)
	// All are the ends of all nodes' logs that are known, for those who have
	// missed them.
	All() map[string]topology.LogEnd
	// Hear takes what another agent knows of a configured member's log.
	Hear(member string, end topology.LogEnd)
}

// logEnd is the end of a node's log on its way. Clocks differ, so it carries its age.
type logEnd struct {
	Node     string            `json:"node"`
	Identity topology.Identity `json:"identity"`
	Flushed  topology.LSN      `json:"flushed"`
	Age      time.Duration     `json:"age,omitempty"`
}

func logEndOf(node string, e topology.LogEnd, now time.Time) logEnd {
	return logEnd{Node: node, Identity: e.Identity, Flushed: e.Flushed, Age: max(now.Sub(e.At), 0)}
}

// ownLog is what an agent says again and again.
func (c Config) ownLog(now time.Time) []logEnd {
	if c.Logs == nil {
		return nil
	}
	own, ok := c.Logs.Own()
	if !ok {
		return nil
	}
	return []logEnd{logEndOf(c.Self, own, now)}
}

// allLogs is what an agent tells one that may have missed something.
func (c Config) allLogs(now time.Time) []logEnd {
	if c.Logs == nil {
		return nil
	}
	all := c.Logs.All()
	out := make([]logEnd, 0, len(all))
	for _, node := range slices.Sorted(maps.Keys(all)) {
		if _, ok := c.member(node); ok { // it may have been taken out of the file
			out = append(out, logEndOf(node, all[node], now))
		}
	}
	return out
}

// hear takes what another agent has said of members' logs. Of its own node an agent
// needs to hear nothing.
func (c Config) hear(logs []logEnd, now time.Time) {
	if c.Logs == nil {
		return
	}
	for _, l := range logs {
		if _, ok := c.member(l.Node); ok && l.Node != c.Self {
			c.Logs.Hear(l.Node, topology.LogEnd{Identity: l.Identity, Flushed: l.Flushed, At: now.Add(-max(l.Age, 0))})
		}
	}
}
