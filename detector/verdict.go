package detector

import (
	"slices"
	"strconv"
	"time"

	"healer/topology"
)

// Life is what is concluded about a node.
type Life string

// The lives of a node: unknown, up, suspected, failed or left, returning, up.
const (
	// LifeUnknown: nobody has had an answer from it since this agent started.
	LifeUnknown Life = "unknown"
	// LifeUp: it answers.
	LifeUp Life = "up"
	// LifeSuspected: a member accuses it, and no answer came since.
	LifeSuspected Life = "suspected"
	// LifeFailed: a majority of the configured members accuse it and nobody
	// has an answer.
	LifeFailed Life = "failed"
	// LifeLeft: its own agent announced a planned leave.
	LifeLeft Life = "left"
	// LifeReturning: it failed, answers again and is not held down, and waits for
	// Admit.
	LifeReturning Life = "returning"
)

// Verdict is what this agent holds about one node, with the evidence for it.
type Verdict struct {
	Node string `json:"node"`
	Life Life   `json:"life"`
	// Reason is for a person: who saw what, and what is missing.
	Reason string `json:"reason"`
	// Condition is the strongest condition in the evidence that decided.
	Condition Condition `json:"condition,omitempty"`
	// Abstained is set when the accusations would do but this agent may not
	// judge: too few members are heard, or the node has never been seen and
	// the grace of the start is not over.
	Abstained bool `json:"abstained,omitempty"`
	// Findings are conditions to report although the node may well live.
	Findings []Condition `json:"findings,omitempty"`
	// Evidence is the fresh evidence about the node, sorted by observer.
	Evidence []Evidence `json:"evidence"`
	// Incarnation names the life of the node the verdict is about, equal on
	// all agents: see Incarnation. While failed or returning it stays that of
	// the life that was lost.
	Incarnation string `json:"incarnation"`
	Episode     uint64 `json:"episode"`
	// Identity is the last known of the node; while failed or returning the
	// identity that was lost.
	Identity topology.Identity `json:"identity,omitzero"`
	// Maintained is set while an operator has suspended the verdicts about the
	// node.
	Maintained bool `json:"maintenance,omitempty"`
	// Unwatched is set when the node's agent has been gone for a while beside a
	// server that lives. AgentSince is when that agent, or the present one,
	// began, in µs since 1970; 0 when it was never heard of.
	Unwatched  bool  `json:"unwatched,omitempty"`
	AgentSince int64 `json:"agent_since,omitempty"`
	// Open is set from the node's failure until it is taken back, whatever its Life:
	// an agent that was restarted meanwhile knows of the failure, and judges anew.
	Open bool `json:"-"`
	// Failures are those within the flap window. From Rules.FlapAfter on the node
	// is flapping: HoldDown is how long it must answer without a break before
	// it is taken back, and Held is set until it has.
	Failures []time.Time   `json:"failures,omitempty"`
	HoldDown time.Duration `json:"hold_down,omitempty"`
	Held     bool          `json:"held,omitempty"`
	// At is when this agent reached the verdict.
	At time.Time `json:"at"`
}

// Prior is what a later life of this agent has to know of the node.
func (v Verdict) Prior() Prior {
	return Prior{Identity: v.Identity, Episode: v.Episode, Failed: v.Open, Failures: v.Failures}
}

// Incarnation names one life of a node: the start of its postmaster in µs, base
// 36, a dot, and the episode. A postmaster that was lost and found again without
// a restart has the same start, but another episode.
func Incarnation(id topology.Identity, episode uint64) string {
	return strconv.FormatInt(id.StartedAt, 36) + "." + strconv.FormatUint(episode, 10)
}

// same reports whether two verdicts conclude the same, whatever the evidence.
func (v Verdict) same(w Verdict) bool {
	return v.Life == w.Life && v.Incarnation == w.Incarnation && v.Condition == w.Condition &&
		v.Abstained == w.Abstained && v.Unwatched == w.Unwatched && v.HoldDown == w.HoldDown && v.Held == w.Held &&
		slices.Equal(v.Findings, w.Findings)
}
