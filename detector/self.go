package detector

import "time"

// A paused agent (stopped by a signal, its machine suspended) wakes up to
// sockets full of what others said long ago, and to its own clock's jump. What it
// reads then is dated now and may be of any age: it might fail a node that was
// restarted and has been well for minutes. So after a pause it listens until all
// that it read right after waking has expired, and concludes no failure before.

// advance notes that time has come to now, and finds the pauses of this agent.
// The wall clock is asked as well: the monotonic one stands still while a
// machine is suspended. A step of the wall clock forward costs a short
// abstention and nothing else.
func (j *Judge) advance(now time.Time) {
	gap := max(now.Sub(j.last), now.Round(0).Sub(j.last.Round(0)))
	if gap > j.rules.PauseAfter {
		j.listenUntil = now.Add(j.rules.EvidenceTTL + j.rules.PauseAfter)
		for _, n := range j.nodes {
			// Nobody knows what the node did meanwhile: silence begins anew.
			n.reported = time.Time{}
		}
	}
	if now.After(j.last) || gap > 0 {
		j.last = now
	}
}

// listening reports whether this agent was paused a short time ago.
func (j *Judge) listening(now time.Time) bool { return now.Before(j.listenUntil) }

// attend keeps whether the node is unwatched: its agent has been missing for a
// while beside a server that lives. It stays so, whatever others suspect of the
// server, until the agent is back or the node has failed or left.
func (j *Judge) attend(n *node, t tally, now time.Time) {
	if j.agents == nil || j.agents[n.name] || n.name == j.self {
		n.missing, n.unwatched = time.Time{}, false
		return
	}
	if n.missing.IsZero() {
		n.missing = now
	}
	switch {
	case n.open || n.left:
		n.unwatched = false
	case n.verdict.Life == LifeUp && len(t.refuting) > 0 && j.missed(n, now) && now.Sub(n.missing) >= j.rules.UnwatchedAfter:
		n.unwatched = true
	}
}

// missed reports whether the node's agent should be there: while agents start
// one after another, one that is not there yet is not missed.
func (j *Judge) missed(n *node, now time.Time) bool {
	return j.met[n.name] || now.Sub(j.started) >= j.rules.StartupGrace
}
