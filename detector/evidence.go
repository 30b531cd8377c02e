package detector

import (
	"time"

	"healer/topology"
)

// Evidence is what one observer found at one node: the unit that agents
// exchange. Of two pieces by one observer about one node, the one with the
// greater Seq replaces the other; nothing else about their order matters.
type Evidence struct {
	// Observer is the member that looked, Subject the node it looked at.
	Observer string `json:"observer"`
	Subject  string `json:"subject"`
	// Seq grows with every piece of one observer, across its restarts.
	Seq       uint64    `json:"seq"`
	Kind      Kind      `json:"kind"`
	Condition Condition `json:"condition"`
	// Detail is the error as the observer had it; at most MaxDetail bytes.
	Detail string `json:"detail,omitempty"`
	// Lasted is how long, by the observer's own monotonic clock and with
	// probes all along, the subject has given it no live answer. While the
	// observer's process was stalled it does not grow.
	Lasted time.Duration `json:"lasted,omitempty"`
	// Held is for how long the observer has held positive evidence without a
	// break; zero when its evidence is of another kind.
	Held time.Duration `json:"held,omitempty"`
	// Age is how old the piece was when it was sent, so that evidence handed
	// on by a third agent is not taken for fresh.
	Age time.Duration `json:"age,omitempty"`
	// Identity is the last that the observer itself read from the subject.
	Identity topology.Identity `json:"identity,omitzero"`
	// IdentityAge is how long before this piece the observer read Identity.
	IdentityAge time.Duration `json:"identity_age,omitempty"`
	// Episode is the number of the subject's present life, as far as the
	// observer knows; the greatest one anybody knows counts.
	Episode uint64 `json:"episode,omitempty"`
	// AgentSince is when the observer began, in µs since 1970; only in what it
	// says of its own node.
	AgentSince int64 `json:"agent_since,omitempty"`
	// HoldDown is how long, by the failures that the observer counts itself, the
	// subject must answer without a break before it is taken back.
	HoldDown time.Duration `json:"hold_down,omitempty"`
	// Failed is set while the observer holds that the subject failed in
	// Episode and has not been admitted again: the identity that was lost.
	Failed *topology.Identity `json:"failed,omitempty"`
}

// MaxDetail bounds Evidence.Detail, so that messages stay small.
const MaxDetail = 160

// Finding is the outcome of one probe, before an observer signs it.
type Finding struct {
	Condition Condition
	Detail    string
	// Identity is what the probe read; zero when it read nothing.
	Identity topology.Identity
	// Silent is for how long there was no answer while the prober itself ran:
	// time in which its process was stalled is left out. Zero leaves it to the
	// Judge to count from the first report.
	Silent time.Duration
	// Asked is set when another member's accusation asked for this probe: its
	// outcome is news to that member even when it is the same as before.
	Asked bool
}

// record is a piece of evidence with the local time it dates from.
type record struct {
	Evidence
	at time.Time
}

// fresh reports whether the record still counts.
func (r record) fresh(now time.Time, ttl time.Duration) bool { return now.Sub(r.at) <= ttl }

// gone is when the observer first saw that the subject is gone, in local time;
// only for positive evidence.
func (r record) gone() time.Time { return r.at.Add(-r.Held) }

// onset is when the observer last had a live answer, in local time.
func (r record) onset() time.Time { return r.at.Add(-r.Lasted) }

// begun is since when, in local time, the observer accuses the subject.
func (r record) begun() time.Time {
	if r.Kind == Positive {
		return r.gone()
	}
	return r.onset()
}

// accuses reports whether the piece is positive or silent.
func (e Evidence) accuses() bool { return e.Kind == Positive || e.Kind == Silent }

// repeats reports whether the piece says what an older one did.
func (e Evidence) repeats(old Evidence) bool {
	return e.Condition == old.Condition && e.Identity == old.Identity && e.Episode == old.Episode &&
		e.HoldDown == old.HoldDown && (e.Failed == nil) == (old.Failed == nil) &&
		(e.Failed == nil || *e.Failed == *old.Failed)
}

// read is when the observer last read the subject's identity, in local time.
func (r record) read() time.Time { return r.at.Add(-r.IdentityAge) }

// truncate cuts s to at most n bytes without splitting a character.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
