package events

import (
	"time"

	"healer/topology"
)

// The data of events, by kind. They are structs of plain values, so that a
// subscriber decodes Event.Data without importing anything but this package.

// Planned is the data of recovery.planned.
type Planned struct {
	// Plan is "recovery" or "rejoin".
	Plan      string   `json:"plan"`
	Node      string   `json:"node"`
	Survivors []string `json:"survivors"`
	// Shape tells apart what plans of one recovery do: approve it by this name.
	Shape string `json:"shape,omitempty"`
	// Final is true when every survivor is fenced: the watermark and the lanes
	// are then facts and not an estimate.
	Final     bool          `json:"final"`
	Watermark topology.LSN  `json:"watermark"`
	Source    string        `json:"source,omitempty"`
	Lanes     []PlannedLane `json:"lanes,omitempty"`
	Steps     []PlannedStep `json:"steps,omitempty"`
	topology.Unsent
}

// PlannedLane is the healing of one laggard: the lost node's transactions in
// (From, To] go from Source to Target.
type PlannedLane struct {
	Target string       `json:"target"`
	Source string       `json:"source"`
	From   topology.LSN `json:"from"`
	To     topology.LSN `json:"to"`
	// Rows is true when they go as rows, because no log has them any more.
	Rows bool `json:"rows,omitempty"`
}

// PlannedStep is one step of a plan.
type PlannedStep struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Node   string `json:"node,omitempty"`
	Target string `json:"target,omitempty"`
}

// Started is the data of recovery.started. A recovery that several agents take
// up, or one agent again after a failure, is started by each run.
type Started struct {
	Plan string `json:"plan"`
	Node string `json:"node"`
	Run  string `json:"run"`
}

// Step is the data of recovery.step: how one step ended.
type Step struct {
	Step   string `json:"step"`
	Kind   string `json:"kind"`
	Node   string `json:"node,omitempty"`
	Target string `json:"target,omitempty"`
	// Run is the run that saw it.
	Run string `json:"run"`
	// State is done, already, failed or cancelled.
	State    string `json:"state"`
	Attempts int    `json:"attempts"`
	// DurationMS is the time from the first attempt to the end, in
	// milliseconds.
	DurationMS int64            `json:"duration_ms"`
	Evidence   string           `json:"evidence,omitempty"`
	Figures    map[string]int64 `json:"figures,omitempty"`
	Error      string           `json:"error,omitempty"`
	Hint       string           `json:"hint,omitempty"`
}

// Verified is the data of recovery.verified: what the recovery carried across,
// and that the survivors are equal.
type Verified struct {
	Node      string       `json:"node"`
	Source    string       `json:"source,omitempty"`
	Watermark topology.LSN `json:"watermark"`
	Survivors []string     `json:"survivors"`
	// Laggards has, for each laggard but those in Rows, the transactions it lacked at
	// the fence.
	Laggards map[string]int64 `json:"laggards"`
	// Rows are the laggards that got rows and not transactions, because no log had
	// these any more: how many transactions that were is not known.
	Rows []string `json:"rows,omitempty"`
	// TransactionsRecovered counts what the laggards lacked and have now: the
	// sum of Laggards, however many runs it took.
	TransactionsRecovered int64 `json:"transactions_recovered"`
	// TransactionsApplied counts those of them that this run applied; the
	// others were applied by earlier runs that did not come to their end.
	TransactionsApplied int64 `json:"transactions_applied"`
	// Remaining are the laggards that this run could not heal or left to
	// another coordinator; an event of their own tells how they ended.
	Remaining []string `json:"remaining,omitempty"`
	// Uncompared are the survivors whose gap marks were released although nobody was
	// left to compare their rows with.
	Uncompared []Uncompared `json:"uncompared,omitempty"`
	topology.Unsent
	RowsCompared int64 `json:"rows_compared"`
	RowsRepaired int64 `json:"rows_repaired"`
	// Conflicts is nil when this run met none.
	Conflicts *Conflicts `json:"conflicts,omitempty"`
	// DurationMS and PhasesMS are in milliseconds; a phase is a kind of step,
	// and its time that from the first of its steps to the end of its last.
	DurationMS int64            `json:"duration_ms"`
	PhasesMS   map[string]int64 `json:"phases_ms"`
	Run        string           `json:"run"`
}

// Uncompared is a survivor whose rows were not compared with anybody's.
type Uncompared struct {
	Node string `json:"node"`
	// Why says what is not known, Remedy how to find out.
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
}

// Rejoined is the data of node.rejoined. Survivors are the nodes that read from
// Node again.
type Rejoined struct {
	Node       string           `json:"node"`
	Survivors  []string         `json:"survivors"`
	DurationMS int64            `json:"duration_ms"`
	PhasesMS   map[string]int64 `json:"phases_ms"`
	Run        string           `json:"run"`
}

// Dropped is the data of node.dropped: what belonged to the node is gone from
// the survivors.
type Dropped struct {
	Node      string   `json:"node"`
	Survivors []string `json:"survivors"`
	// Forced is true when no verified recovery came before it; Lost then has
	// what each survivor will never get.
	Forced bool   `json:"forced"`
	Lost   []Lost `json:"lost,omitempty"`
	topology.Unsent
}

// Lost is what a survivor lacks of a dropped node, and another one has.
type Lost struct {
	Node  string `json:"node"`
	Bytes int64  `json:"bytes"`
	// Transactions is -1 when they could not be counted.
	Transactions int64 `json:"transactions"`
}

// Failed is the data of recovery.failed and recovery.cancelled.
type Failed struct {
	Plan string `json:"plan"`
	Node string `json:"node"`
	// Reason is the code of the fault that ended the run.
	Reason string `json:"reason"`
	Error  string `json:"error"`
	Hint   string `json:"hint,omitempty"`
	// Step is the id of the step that failed, On the server it failed on.
	Step string `json:"step,omitempty"`
	Kind string `json:"kind,omitempty"`
	On   string `json:"on,omitempty"`
	// Retry is true when Healer plans again by itself.
	Retry bool `json:"retry"`
	// TransactionsRecovered counts what this run carried across all the same.
	TransactionsRecovered int64 `json:"transactions_recovered"`
	topology.Unsent
	// Conflicts is nil when this run met none.
	Conflicts  *Conflicts `json:"conflicts,omitempty"`
	DurationMS int64      `json:"duration_ms"`
	Run        string     `json:"run"`
}

// Conflicts sums up the conflicts of a run. All of them are in the journal of the
// agent that ran it: `healer recovery show`.
type Conflicts struct {
	// Total is how many there were; Counts has them by table, kind and action,
	// the first 50 in that order.
	Total  int64                    `json:"total"`
	Counts []topology.ConflictCount `json:"counts"`
	// First are the first five.
	First []topology.RowConflict `json:"first"`
}

// Refused is the data of recovery.refused.
type Refused struct {
	Plan   string `json:"plan"`
	Reason string `json:"reason"`
	// Blocker is the node that stands in the way; empty when none does.
	Blocker string `json:"blocker,omitempty"`
	Why     string `json:"why"`
	Remedy  string `json:"remedy"`
	// Wait is true when the obstacle may pass by itself.
	Wait bool `json:"wait"`
}

// SecondAgent is the data of agent.refused: of two agents under the name of one
// node, the holder stays and the other is refused.
type SecondAgent struct {
	Node string `json:"node"`
	// Holder and Refused are where they gossip; the times are when each started,
	// by its own clock.
	Holder       string    `json:"holder"`
	HolderSince  time.Time `json:"holder_since"`
	Refused      string    `json:"refused"`
	RefusedSince time.Time `json:"refused_since"`
}

// Judged is the data of what detection tells of a node: node.suspected, refuted,
// failed, left, returned, flapping, unwatched and watched.
type Judged struct {
	Node string `json:"node"`
	// Life is what the reporting agent holds now: up, suspected, failed, left or
	// returning; unknown before it had an answer.
	Life string `json:"life"`
	// Reason is for a person: who saw what.
	Reason string `json:"reason"`
	// Condition is the strongest in the evidence that decided, Findings are those
	// to report although the node may well live; docs/detection.md has them all.
	Condition string   `json:"condition,omitempty"`
	Findings  []string `json:"findings,omitempty"`
	// Abstained is true when the accusations would do but this agent may not judge.
	Abstained bool `json:"abstained,omitempty"`
	// Maintained is true while an operator has suspended the verdicts.
	Maintained bool `json:"maintenance,omitempty"`
	// Unwatched is true when the node's agent is gone beside a server that lives.
	// AgentSince is when that agent began, in microseconds since 1970.
	Unwatched  bool  `json:"unwatched,omitempty"`
	AgentSince int64 `json:"agent_since,omitempty"`
	// Incarnation names the life of the node, Episode its number, Identity the
	// server of that life.
	Incarnation string            `json:"incarnation"`
	Episode     uint64            `json:"episode"`
	Identity    topology.Identity `json:"identity,omitzero"`
	// Failures are those within the flap window. HoldDownMS is for how many
	// milliseconds a flapping node must answer without a break before it is taken
	// back; Held is true until it has.
	Failures   []time.Time `json:"failures,omitempty"`
	HoldDownMS int64       `json:"hold_down_ms,omitempty"`
	Held       bool        `json:"held,omitempty"`
	// Evidence is what the observers said that counted, sorted by observer.
	Evidence []Witnessed `json:"evidence"`
	// At is when the reporting agent reached the verdict.
	At time.Time `json:"at"`
}

// Witnessed is what one observer found at a node.
type Witnessed struct {
	Observer string `json:"observer"`
	// Kind is positive, silent, refuting or neutral; Condition says it closer.
	Kind      string `json:"kind"`
	Condition string `json:"condition"`
	Detail    string `json:"detail,omitempty"`
	// LastedMS is for how many milliseconds the observer had no live answer,
	// AgeMS how old its word was.
	LastedMS int64 `json:"lasted_ms"`
	AgeMS    int64 `json:"age_ms"`
}

// Slot is the data of slot.created, slot.at_risk and slot.released.
type Slot struct {
	// Node has the slot, For is the peer it is kept for.
	Node string        `json:"node"`
	For  string        `json:"for"`
	Slot topology.Slot `json:"slot"`
	// Why says what the risk is, or why the slot was given up.
	Why string `json:"why,omitempty"`
	// Remedy is what the peer needs now, if anything.
	Remedy string `json:"remedy,omitempty"`
}

// Said is the data of what operators say: node.maintenance, control.paused,
// control.resumed and recovery.acknowledged.
type Said struct {
	// Kind is maintenance, pause or acknowledgement.
	Kind string `json:"kind"`
	// Subject is what it is about: a node, node/recovery; empty for all nodes.
	Subject string    `json:"subject,omitempty"`
	At      time.Time `json:"at"`
	// Until is when it ends by itself; absent when it does not.
	Until  time.Time `json:"until,omitzero"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	// Ended is true when it takes back what was said before.
	Ended bool `json:"ended,omitempty"`
}
