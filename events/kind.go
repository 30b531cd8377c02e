package events

import (
	"maps"
	"slices"
)

// Kind is what happened, as the last two tokens of an event's subject.
type Kind string

// The kinds of events.
const (
	NodeSuspected Kind = "node.suspected"
	NodeRefuted   Kind = "node.refuted"
	NodeFailed    Kind = "node.failed"
	NodeLeft      Kind = "node.left"
	NodeReturned  Kind = "node.returned"
	NodeRejoined  Kind = "node.rejoined"
	NodeDropped   Kind = "node.dropped"
	// NodeMaintenance: an operator has suspended the verdicts about the node, or
	// has taken that back.
	NodeMaintenance Kind = "node.maintenance"
	// NodeUnwatched: the node's agent is gone beside a living server;
	// NodeWatched: it is back.
	NodeUnwatched Kind = "node.unwatched"
	NodeWatched   Kind = "node.watched"
	// NodeFlapping: the node fails again and again, and is held down for longer.
	NodeFlapping Kind = "node.flapping"

	AgentRefused Kind = "agent.refused"

	RecoveryPlanned      Kind = "recovery.planned"
	RecoveryRefused      Kind = "recovery.refused"
	RecoveryStarted      Kind = "recovery.started"
	RecoveryStep         Kind = "recovery.step"
	RecoveryVerified     Kind = "recovery.verified"
	RecoveryFailed       Kind = "recovery.failed"
	RecoveryCancelled    Kind = "recovery.cancelled"
	RecoveryAcknowledged Kind = "recovery.acknowledged"

	SlotCreated  Kind = "slot.created"
	SlotAtRisk   Kind = "slot.at_risk"
	SlotReleased Kind = "slot.released"

	ControlPaused  Kind = "control.paused"
	ControlResumed Kind = "control.resumed"

	// JournalEntry: a line of the journal of a run. It is a record rather than
	// news, so only who asks for it by its kind, or for ">", gets it.
	JournalEntry Kind = "journal.entry"
)

// Severity grades an event for the person who is woken by it.
type Severity string

// The severities, mildest first.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// severities is the table of kinds; a kind that is not in it does not exist.
func severities() map[Kind]Severity {
	return map[Kind]Severity{
		NodeSuspected: Warning, NodeRefuted: Info, NodeFailed: Critical,
		NodeLeft: Info, NodeReturned: Info, NodeRejoined: Info, NodeDropped: Warning,
		AgentRefused:    Warning,
		NodeMaintenance: Warning, NodeUnwatched: Warning, NodeWatched: Info, NodeFlapping: Warning,
		RecoveryPlanned: Info, RecoveryRefused: Critical, RecoveryStarted: Info,
		RecoveryStep: Info, RecoveryVerified: Info, RecoveryFailed: Critical,
		RecoveryCancelled: Warning, RecoveryAcknowledged: Info,
		SlotCreated: Info, SlotAtRisk: Warning, SlotReleased: Critical,
		ControlPaused: Warning, ControlResumed: Info,
		JournalEntry: Info,
	}
}

// Kinds returns all kinds, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(severities())) }

// Severity returns the grade of the kind, and false when the kind is unknown.
func (k Kind) Severity() (Severity, bool) {
	s, ok := severities()[k]
	return s, ok
}
