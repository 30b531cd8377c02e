package topology

import "strings"

// Identity tells one server from another, and one life of it from the next.
// None of it is a clock: StartedAt is compared for equality only.
type Identity struct {
	// SystemID is pg_control_system().system_identifier.
	SystemID uint64 `json:"system_id,string"`
	// Timeline is the timeline the server writes on.
	Timeline uint32 `json:"timeline"`
	// StartedAt is pg_postmaster_start_time() in microseconds since the Unix
	// epoch, as that server's clock had it. It names one life of the
	// postmaster: every observer reads the same number.
	StartedAt int64 `json:"started_at"`
}

// Known reports whether the identity was read from a server at all.
func (id Identity) Known() bool { return id.SystemID != 0 }

// Fork is one line of a timeline history: at SwitchLSN the server left
// Timeline for the next one.
type Fork struct {
	Timeline  uint32 `json:"timeline"`
	SwitchLSN LSN    `json:"switch_lsn"`
}

// WorkerState is what the apply worker of a subscription does.
type WorkerState string

// The states of an apply worker.
const (
	// WorkerNone: no worker process runs for the subscription.
	WorkerNone WorkerState = "none"
	// WorkerIdle: the worker waits for its socket (wait event
	// LogicalApplyMain); everything that reached it has been applied.
	WorkerIdle WorkerState = "idle"
	// WorkerBusy: the worker applies, waits for a lock, or synchronises.
	WorkerBusy WorkerState = "busy"
)

// TableName is a table as its schema and name, unquoted.
type TableName struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
}

// String joins schema and name by a dot, for messages only: it does not quote,
// so it must never be put into SQL.
func (t TableName) String() string { return t.Schema + "." + t.Name }

// Subscription is one node's subscription to another node of the mesh.
type Subscription struct {
	Name string `json:"name"`
	// ID is the subscription's oid on its node; 0 where the engine has none.
	ID uint32 `json:"id"`
	// Provider is the node it reads from; empty when that is not known yet.
	Provider string `json:"provider"`
	Enabled  bool   `json:"enabled"`
	// Origin is the name of the replication origin under which the node
	// applies the provider's transactions.
	Origin string `json:"origin"`
	// Slot is the slot's name at the provider.
	Slot         string   `json:"slot"`
	Publications []string `json:"publications"`
	// Progress is the last commit LSN of the provider that the node has
	// applied (pg_replication_origin_status.remote_lsn); 0 when none yet.
	Progress LSN         `json:"progress"`
	Worker   WorkerState `json:"worker"`
	// Writer is the id that the apply worker's commits have instead of that of Origin,
	// and that no origin has; 0 when there is no such.
	Writer uint32 `json:"writer,omitempty"`
}

// SlotKind says what a replication slot is to Healer.
type SlotKind string

// The kinds of slots.
const (
	// SlotMesh feeds a subscription of the mesh.
	SlotMesh SlotKind = "mesh"
	// SlotRecovery is a recovery slot: it holds its node's WAL until To has
	// every foreign transaction in it.
	SlotRecovery SlotKind = "recovery"
	// SlotSeed is a recovery slot in the making: To is not yet known to have
	// every foreign transaction that lies before it.
	SlotSeed SlotKind = "seed"
	// SlotClone is the copy of a recovery slot that one recovery uses.
	SlotClone SlotKind = "clone"
	// SlotForeign is somebody else's: Healer never touches it.
	SlotForeign SlotKind = "foreign"
)

// Slot is a logical replication slot on a node.
type Slot struct {
	Name   string   `json:"name"`
	Kind   SlotKind `json:"kind"`
	Plugin string   `json:"plugin"`
	// To is the peer the slot is kept for; empty for SlotForeign.
	To string `json:"to,omitempty"`
	// Origin is, for a clone, the lost node whose gap it carries.
	Origin string `json:"origin,omitempty"`
	Active bool   `json:"active"`
	// Confirmed and Restart are confirmed_flush_lsn and restart_lsn, in the
	// log of the node that holds the slot.
	Confirmed LSN `json:"confirmed"`
	Restart   LSN `json:"restart"`
	// WALStatus is pg_replication_slots.wal_status: reserved, extended,
	// unreserved or lost.
	WALStatus string `json:"wal_status"`
	// RetainedBytes is the WAL held back by the slot.
	RetainedBytes int64 `json:"retained_bytes"`
}

// Fence is the durable mark that Healer disabled a subscription, so that just
// what was fenced can be unfenced later, by anyone.
type Fence struct {
	// Subscription is the name of the subscription that was disabled.
	Subscription string `json:"subscription"`
	// Origin is the lost node the subscription reads from.
	Origin string `json:"origin"`
	// Identity is what was known of the lost node at that time; the node that
	// returns must be the same.
	Identity Identity `json:"identity"`
	// Mark is the name of the marker itself, for whoever removes it.
	Mark string `json:"mark"`
	// Made is the transaction that made the mark (xmin of its row), as far as it
	// was read from the catalog: a fence that was lifted and put up again has the
	// same name.
	Made uint32 `json:"made,omitempty"`
}

// GapMark is the durable mark of a recovery under way on a laggard: it is set
// before the first transaction is carried across and removed when the laggard
// is verified. It makes a recovery resumable by an agent that knows nothing:
// the gap is (From, To] however much of it has been applied since.
type GapMark struct {
	Origin string `json:"origin"`
	From   LSN    `json:"from"`
	To     LSN    `json:"to"`
	Mark   string `json:"mark"`
}

// Bar is the durable mark that a node must not be taken back as it is. What was
// wrong with it may not show any more when it is looked at the next time.
type Bar struct {
	// Node is the node that is barred, Identity what it was at that time.
	Node     string   `json:"node"`
	Identity Identity `json:"identity"`
	// Reason is the code of the refusal that stands for good, or BarRebuild.
	Reason string `json:"reason"`
	Mark   string `json:"mark"`
}

// BarRebuild is the reason of a bar while a node is being rebuilt: its tables
// are not complete.
const BarRebuild = "rebuild_unfinished"

// Owed is the durable mark that a gap of Origin was carried while Node was not there
// to be compared with. What Node had done to those rows may have reached a survivor that
// lacked them then, and skipped it. So the rows are compared with Node when it is back.
// With Node as its own Origin it says that Node is let in with its gap open: what it brings
// meets what others have made of these rows since.
type Owed struct {
	Node   string `json:"node"`
	Origin string `json:"origin"`
	Mark   string `json:"mark"`
}

// WhyOwed says of the node why its rows are still to be compared, when the marks have
// these origins. The node's own mark is made where it was let in with its gap open.
func WhyOwed(node string, origins []string) string {
	var others, why []string
	for _, o := range origins {
		if o != node {
			others = append(others, o)
		}
	}
	if len(others) > 0 {
		why = append(why, "was away while gaps of "+strings.Join(others, ", ")+" were carried")
	}
	if len(others) < len(origins) {
		why = append(why, "was let in although its gap had not been carried")
	}
	return strings.Join(why, ", and ")
}

// Finding is a prerequisite that a server does not meet.
type Finding struct {
	// Code is stable: wal_level, track_commit_timestamp, grant, ...
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// Remedy is the SQL, setting or command that mends it.
	Remedy string `json:"remedy"`
	// Blocking findings make the node unready: no recovery uses it.
	Blocking bool `json:"blocking"`
}
