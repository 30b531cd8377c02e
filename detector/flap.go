package detector

import (
	"slices"
	"time"
)

// maxFailures bounds what is kept of a node's failures: the hold-down has long
// reached its greatest length.
const maxFailures = 32

// fell notes a failure of the node at now.
func (n *node) fell(now time.Time) {
	n.failures = append(n.failures, now)
	if len(n.failures) > maxFailures {
		n.failures = slices.Clone(n.failures[len(n.failures)-maxFailures:])
	}
	n.rose = false
}

// still keeps the time since which the node answers and nobody accuses it, and
// forgets failures that lie behind the window.
func (j *Judge) still(n *node, t tally, now time.Time) {
	n.failures = slices.DeleteFunc(n.failures, func(at time.Time) bool { return now.Sub(at) > j.rules.FlapWindow })
	switch {
	case len(t.refuting) == 0 || j.suspicious(t):
		n.steady = time.Time{}
	case n.steady.IsZero():
		n.steady = now
	}
}

// holdDown is how long the node must answer without a break before it is taken
// back; zero while it is not flapping. Who has counted the most failures is
// believed: an agent that was away has missed some.
func (j *Judge) holdDown(n *node, now time.Time) time.Duration {
	d := j.ownHoldDown(n)
	for _, r := range n.records {
		if r.Observer != j.self && r.fresh(now, j.rules.EvidenceTTL) {
			d = max(d, min(r.HoldDown, j.rules.HoldDownMax))
		}
	}
	return d
}

// ownHoldDown is the hold-down by this agent's own count. It doubles with each
// failure.
func (j *Judge) ownHoldDown(n *node) time.Duration {
	if len(n.failures) < j.rules.FlapAfter {
		return 0
	}
	d := j.rules.HoldDown
	for range len(n.failures) - j.rules.FlapAfter {
		if d = 2 * d; d >= j.rules.HoldDownMax {
			break
		}
	}
	return min(d, j.rules.HoldDownMax)
}

// held reports whether the node must go on to answer before it is taken back.
func (j *Judge) held(n *node, now time.Time) bool {
	d := j.holdDown(n, now)
	return d > 0 && (n.steady.IsZero() || now.Sub(n.steady) < d)
}
