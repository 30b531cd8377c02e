package api

import (
	"time"

	"healer/control"
	"healer/events"
	"healer/topology"
)

// State is the condition of the cluster as one agent sees it.
type State string

// The states, best first.
const (
	// Healthy: every node is alive, ready, subscribed and equal.
	Healthy State = "healthy"
	// Degraded: something is lost or late, and healing is under way, done, or
	// not needed.
	Degraded State = "degraded"
	// Critical: an operator must act, or data is at risk.
	Critical State = "critical"
	// Unknown: the agent has not observed enough to say.
	Unknown State = "unknown"
)

// The lives of a node as its agents judge them.
const (
	LifeUp        = "up"
	LifeSuspected = "suspected"
	LifeFailed    = "failed"
	LifeLeft      = "left"
	LifeReturning = "returning"
	LifeUnknown   = "unknown"
)

// Status is everything that one agent knows of its cluster. It is the body of
// GET /v1/status.
type Status struct {
	Cluster string `json:"cluster"`
	// Agent is the name of the node whose agent answers.
	Agent string `json:"agent"`
	// Mode is observe, advise or auto.
	Mode string `json:"mode"`
	// Version is the agent's build version.
	Version string `json:"version"`
	// At is when the mesh was last observed, by the agent's clock; zero when
	// it never was.
	At time.Time `json:"at"`
	// State and Reasons are the verdict of Assess; the server fills them in.
	State   State    `json:"state"`
	Reasons []string `json:"reasons"`
	// Paused is true when an operator has stopped automatic action.
	Paused bool `json:"paused"`
	// Control is what operators have said and still holds.
	Control []control.Entry `json:"control,omitempty"`
	// SteerBy are the ways in which a request may show that it may change something:
	// token, certificate. Without any nobody may. The server fills it in.
	SteerBy []string `json:"steer_by"`
	// Certificates are those by which this agent is known.
	Certificates []Certificate `json:"certificates,omitempty"`
	// Advice is why plans are shown and not run although Mode is auto; empty when
	// they are run.
	Advice string `json:"advice,omitempty"`
	// Witnesses are the members without a server, sorted by name.
	Witnesses []Witness `json:"witnesses,omitempty"`
	// Nodes has one entry for each configured node, sorted by name.
	Nodes []Node `json:"nodes"`
	// Progress has one entry for each ordered pair of nodes.
	Progress []Progress `json:"progress"`
	// Slots are the logical slots on all nodes that Healer keeps or the mesh uses.
	Slots []Slot `json:"slots"`
	// Feeds are the slots by which the nodes feed one another, also those for a
	// node that is lost.
	Feeds []Feed `json:"feeds"`
	// Current is the recovery under way; nil when there is none.
	Current *Recovery `json:"current,omitempty"`
	// Refusals are the planner's standing "no"s, one for each lost or
	// returned node, whichever agent acts.
	Refusals []Refusal `json:"refusals"`
	// Last is the latest recovery that has ended; nil when none has.
	Last   *Recovery `json:"last,omitempty"`
	NATS   NATS      `json:"nats"`
	Gossip Gossip    `json:"gossip"`
	// Hooks are those that this agent runs, as far as it has run them.
	Hooks []Hook `json:"hooks,omitempty"`
}

// Node is one node of the mesh.
type Node struct {
	Name string `json:"name"`
	// Life is one of the Life constants, Reason why, Since when.
	Life   string    `json:"life"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
	// AgentAlive says whether gossip has the node's agent as a live member.
	AgentAlive bool `json:"agent_alive"`
	// AgentVersion is the build version of the node's agent, as it was last heard; empty
	// of one that does not tell.
	AgentVersion string `json:"agent_version,omitempty"`
	// Reachable says whether this agent's last reading of the node succeeded;
	// Problem says why not.
	Reachable bool   `json:"reachable"`
	Problem   string `json:"problem,omitempty"`
	// Ready is false while a blocking finding keeps the node out of
	// recoveries.
	Ready    bool               `json:"ready"`
	Findings []topology.Finding `json:"findings,omitempty"`
	// Conditions are what the detector found at the node and an operator should
	// hear of.
	Conditions []Condition `json:"conditions,omitempty"`
	// Unwatched is true when the node's agent is gone beside a living server.
	Unwatched bool `json:"unwatched,omitempty"`
	// Flapping is set while the node fails again and again.
	Flapping *Flapping `json:"flapping,omitempty"`
	// Version is server_version_num, such as 180004; 0 when never read.
	Version int `json:"version"`
	// LogEnd is how far the node is known to have written its log; nil when it
	// is not.
	LogEnd *topology.LogEnd `json:"log_end,omitempty"`
	// Unsent is, of a node that is lost or fenced off, what of its log no
	// survivor has.
	topology.Unsent
	// Uncompared are the nodes whose gaps were carried while this one was away: their
	// rows have still to be compared with it.
	Uncompared []string `json:"uncompared,omitempty"`
	// Subscriptions are the node's subscriptions to its peers.
	Subscriptions []Subscription `json:"subscriptions"`
}

// Witness is a member that owns no server.
type Witness struct {
	Name       string `json:"name"`
	AgentAlive bool   `json:"agent_alive"`
	// AgentVersion is as a node's.
	AgentVersion string `json:"agent_version,omitempty"`
}

// Condition is a row of the detector's table: docs/detection.md.
type Condition struct {
	Code     string          `json:"code"`
	Severity events.Severity `json:"severity"`
	// Text is what is so, Leads what follows.
	Text  string `json:"text"`
	Leads string `json:"leads"`
}

// Flapping is how a node that fails again and again is held down.
type Flapping struct {
	// Failures is how many there were within the window.
	Failures int `json:"failures"`
	// HoldDown is how long the node must answer without a break before it is
	// taken back; Held is true until it has.
	HoldDown Duration `json:"hold_down"`
	Held     bool     `json:"held"`
}

// Subscription is one node's replication from a peer.
type Subscription struct {
	Name     string               `json:"name"`
	Provider string               `json:"provider"`
	Enabled  bool                 `json:"enabled"`
	Worker   topology.WorkerState `json:"worker"`
	// Fenced is true when Healer disabled the subscription and marked it.
	Fenced bool `json:"fenced"`
}

// Progress is how far a node has applied the transactions of an origin.
type Progress struct {
	Origin string `json:"origin"`
	Node   string `json:"node"`
	// LSN is the node's progress, in the origin's log; 0/0 while it is not known or
	// nothing of the origin was applied.
	LSN topology.LSN `json:"lsn"`
	// Missing is how many bytes of the origin's log lie between LSN and the
	// most advanced peer: 0 when no peer has more.
	Missing uint64 `json:"missing_bytes"`
	// Lag is how long before the agent's last reading of the origin its log went beyond
	// what the node has of it; 0 when it has not, absent while it is not known.
	Lag *Duration `json:"lag,omitempty"`
}

// Feed is a slot of the mesh: Node feeds the subscription of For through it.
type Feed struct {
	Node string `json:"node"`
	For  string `json:"for"`
	Name string `json:"name"`
}

// Slot is a slot on a node that Healer keeps or the mesh uses.
type Slot struct {
	// Node holds the slot, For is the peer it is kept for.
	Node string            `json:"node"`
	For  string            `json:"for"`
	Name string            `json:"name"`
	Kind topology.SlotKind `json:"kind"`
	// Confirmed is the slot's position in Node's log.
	Confirmed topology.LSN `json:"confirmed"`
	// RetainedBytes is the WAL the slot holds back.
	RetainedBytes int64 `json:"retained_bytes"`
	// Lag is how far Confirmed is behind the end of Node's log: by a slot of the mesh,
	// what For has not confirmed to have.
	Lag uint64 `json:"lag_bytes"`
	// WALStatus is reserved, extended, unreserved or lost.
	WALStatus string `json:"wal_status"`
	// AtRisk is true from the configured limit of retained WAL on.
	AtRisk bool `json:"at_risk"`
}

// RecoverySlots is how many recovery slots the mesh keeps, one on each node for each other
// when it is complete.
func (s Status) RecoverySlots() int {
	n := 0
	for _, slot := range s.Slots {
		if slot.Kind == topology.SlotRecovery {
			n++
		}
	}
	return n
}

// The states of a recovery.
const (
	RecoveryRunning   = "running"
	RecoveryVerified  = "verified"
	RecoveryFailed    = "failed"
	RecoveryCancelled = "cancelled"
	// RecoveryInterrupted: the run's agent ended in the middle, and another run
	// goes on.
	RecoveryInterrupted = "interrupted"
)

// Recovery is one run of the recovery protocol, or of taking a node back.
type Recovery struct {
	ID string `json:"id"`
	// Kind is recovery or rejoin.
	Kind string `json:"kind"`
	// Node is the lost or returned node.
	Node string `json:"node"`
	// State is one of the Recovery constants.
	State string `json:"state"`
	// Step is the step under way, such as "subscribe n1->n3"; empty when the
	// recovery has ended.
	Step string `json:"step,omitempty"`
	// Source is the survivor the gap is carried from; empty when none is.
	Source  string    `json:"source,omitempty"`
	Started time.Time `json:"started"`
	// Duration is how long it took, or has taken so far.
	Duration Duration `json:"duration"`
	// Transactions is how many the laggards lacked and have now. Applied of
	// them were applied by the run that came to the end, the others by runs
	// before it. Repaired are rows that replay alone would have left different.
	Transactions int64 `json:"transactions"`
	Applied      int64 `json:"applied"`
	Repaired     int64 `json:"repaired"`
	// Unsent is, of a recovery, what of the lost node's log no survivor had then.
	topology.Unsent
	// Conflicts is how many writes of the lost node met another node's, or
	// stood against one in the comparison; ConflictCounts has them by table,
	// kind and action.
	Conflicts      int64                    `json:"conflicts"`
	ConflictCounts []topology.ConflictCount `json:"conflict_counts,omitempty"`
	// Error says why it failed and Hint what to do.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Refusal is the planner's reasoned "no".
type Refusal struct {
	// Subject is the lost or returned node the plan would have been for.
	Subject string `json:"subject"`
	// Reason is a stable code, Node the node that stands in the way.
	Reason string `json:"reason"`
	Node   string `json:"node,omitempty"`
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
	// Wait is true when the obstacle may pass by itself.
	Wait bool `json:"wait"`
	// Recovery is the plan's id. Plan is the shape of the plan that waits for an
	// approval; empty when none does.
	Recovery string `json:"recovery,omitempty"`
	Plan     string `json:"plan,omitempty"`
	// By is the agent that was refused, where the one that answers has it from there;
	// empty when it sees the same itself.
	By string `json:"by,omitempty"`
}

// NATS is the agent's link to its event bus. Healing does not depend on it.
type NATS struct {
	Connected bool `json:"connected"`
	// Problem is what stands in the way; empty when nothing does.
	Problem string `json:"problem,omitempty"`
	// StreamReady says whether the cluster's stream takes messages.
	StreamReady bool `json:"stream_ready"`
	// OutboxDepth is the number of events kept locally that the stream has
	// not acknowledged.
	OutboxDepth int `json:"outbox_depth"`
	// Refused is what the agent's own NATS server has turned away since its start, by
	// reason: login, permission, tls or too_large.
	Refused map[string]uint64 `json:"refused,omitempty"`
}

// Certificate is how the files of one door's TLS are.
type Certificate struct {
	// Door is api or nats.
	Door string `json:"door"`
	// NotAfter is when the certificate in use ends.
	NotAfter time.Time `json:"not_after"`
	// Problem is why the files as they are now are not in use.
	Problem string `json:"problem,omitempty"`
}

// Duration is a time.Duration that JSON shows as text, such as "1.5s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}
