package planner

import (
	"fmt"

	"healer/topology"
)

// The reasons of refusals. Which of them may pass by themselves is told by
// Refusal.Wait, because the same obstacle can be passing before the fence and
// final behind it.
const (
	// The trigger itself.
	KindUnknown Reason = "kind_unknown"
	NodeUnknown Reason = "node_unknown"
	NodeAlive   Reason = "node_alive"
	NodeLost    Reason = "node_lost"

	// When it is asked for.
	RecoveryRunning   Reason = "recovery_running"
	RecentlyRecovered Reason = "recently_recovered"

	// Who is left.
	NoSurvivors     Reason = "no_survivors"
	SoleSurvivor    Reason = "sole_survivor"
	NoMajority      Reason = "no_majority"
	NodeUnreachable Reason = "node_unreachable"
	NodeNotReady    Reason = "node_not_ready"
	VersionUnfit    Reason = "version_unfit"

	// What a survivor reads from the lost node.
	ProviderUnknown      Reason = "provider_unknown"
	ManySubscriptions    Reason = "many_subscriptions"
	SubscriptionDisabled Reason = "subscription_disabled"
	ProgressUnknown      Reason = "progress_unknown"

	// What an operator asked for.
	NotASurvivor Reason = "not_a_survivor"
	SourceBehind Reason = "source_behind"

	// Where the gap can be read from.
	SlotMissing Reason = "slot_missing"
	SlotLost    Reason = "slot_lost"
	SlotYounger Reason = "slot_younger"

	// How it can be read, and where it goes to.
	TableLocked        Reason = "table_locked"
	ApplyFails         Reason = "apply_fails"
	PublicationMissing Reason = "publication_missing"
	PublicationYounger Reason = "publication_younger"
	SchemaMismatch     Reason = "schema_mismatch"

	// What came back.
	IdentityUnknown    Reason = "identity_unknown"
	IdentityChanged    Reason = "identity_changed"
	TimelineForked     Reason = "timeline_forked"
	BehindWatermark    Reason = "behind_watermark"
	InRecovery         Reason = "in_recovery"
	RejoinSlotMissing  Reason = "rejoin_slot_missing"
	RejoinSlotLost     Reason = "rejoin_slot_lost"
	SlotRecreated      Reason = "slot_recreated"
	RecoveryUnfinished Reason = "recovery_unfinished"
	ComparisonWaits    Reason = "comparison_waits"
	RebuildUnfinished  Reason = topology.BarRebuild

	// What the operator allows.
	ModeObserves Reason = "mode_observe"
	ModeAdvises  Reason = "mode_advise"
	IsPaused     Reason = "paused"
	WasCancelled Reason = "cancelled"
	Maintained   Reason = "in_maintenance"
)

// refuse makes a refusal; why is a format.
func refuse(r Reason, node, remedy, why string, args ...any) *Refusal {
	return &Refusal{Reason: r, Node: node, Why: fmt.Sprintf(why, args...), Remedy: remedy}
}

// rebuild is the remedy where what is lost cannot be had from anywhere.
func rebuild(node string) string {
	return "healer node rebuild " + node
}

// replace is the remedy where the rows of a node belong to a past that the others do not
// share. Nothing else lifts the mark that it is given.
func replace(node string) string {
	return rebuild(node) + " --wipe (a survivor's rows take the place of its own); or stop its server for good, and: healer node drop " + node
}

// byRows is the remedy where the log is gone and the rows are not.
func byRows(origin, target string) string {
	return "healer recovery run --failed " + origin + " --rows carries its rows in place of its transactions; or " + rebuild(target)
}

// wait marks an obstacle that may pass by itself.
func (r *Refusal) wait(w bool) *Refusal {
	r.Wait = w
	return r
}
