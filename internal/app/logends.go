package app

import (
	"maps"
	"sync"
	"time"

	"healer/topology"
)

// logEnds has the furthest that is known of each node's log. It implements
// gossip.Logs: nothing in it waits.
//
// What an agent says of its node counts for the log that is known; that another
// server has taken the node's place is for a reading of it to say, once nothing
// fences it off. So what was last heard of a lost node stays, whoever comes back
// under its name.
type logEnds struct {
	mu sync.Mutex
	// own is what this agent last read of its own node.
	own  topology.LogEnd
	held map[string]topology.LogEnd
}

func newLogEnds(kept map[string]topology.LogEnd) *logEnds {
	l := &logEnds{held: map[string]topology.LogEnd{}}
	maps.Copy(l.held, kept)
	return l
}

// Own implements gossip.Logs.
func (l *logEnds) Own() (topology.LogEnd, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.own, l.own.Flushed != 0
}

// All implements gossip.Logs.
func (l *logEnds) All() map[string]topology.LogEnd {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.held)
}

// of is what is known of a node's log; zero when nothing is.
func (l *logEnds) of(node string) topology.LogEnd {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[node]
}

// Hear implements gossip.Logs. Within one life of a server the log only grows; a
// later life counts when it goes on behind the earlier one, and an earlier one,
// which others may still remember, never displaces it.
func (l *logEnds) Hear(node string, end topology.LogEnd) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hear(node, end)
}

func (l *logEnds) hear(node string, end topology.LogEnd) {
	held, had := l.held[node]
	sameLife := held.Identity.StartedAt == end.Identity.StartedAt
	switch {
	case end.Flushed == 0 || !end.Identity.Known():
	case !had:
		l.held[node] = end
	case !held.SameLog(end) || end.Flushed < held.Flushed:
	case sameLife && end.Flushed > held.Flushed, end.At.After(held.At):
		l.held[node] = end
	}
}

// readOwn takes a reading of this agent's own node.
func (l *logEnds) readOwn(node string, n topology.NodeState, now time.Time) {
	if !n.Reachable || n.InRecovery {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.own = endOf(n, now)
	l.hear(node, l.own)
}

// read takes a reading of a node that is part of the mesh: it is who it says.
func (l *logEnds) read(n topology.NodeState, now time.Time) {
	if n.InRecovery {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	end := endOf(n, now)
	held := l.held[n.Name]
	if !held.SameLog(end) || held.Identity.StartedAt != end.Identity.StartedAt {
		l.held[n.Name] = end
		return
	}
	l.hear(n.Name, end)
}

func endOf(n topology.NodeState, now time.Time) topology.LogEnd {
	return topology.LogEnd{Identity: n.Identity, Flushed: n.Flushed, At: now}
}
