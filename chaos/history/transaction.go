package history

import (
	"fmt"
	"time"
)

// Outcome is how a transaction ended for its client.
type Outcome string

// The outcomes.
const (
	// Committed: the server has acknowledged the commit.
	Committed Outcome = "committed"
	// Failed: the transaction has certainly changed nothing.
	Failed Outcome = "failed"
	// Unknown: the client did not get to know, as when the connection broke at
	// COMMIT. Both is possible, for good.
	Unknown Outcome = "unknown"
)

// Transaction is one transaction as its client saw it.
type Transaction struct {
	// ID is unique in the run; see TransactionID.
	ID string `json:"id"`
	// Node is where the client wrote, and so the transaction's origin.
	Node   string `json:"node"`
	Client int    `json:"client"`
	// Sequence numbers the client's transactions from 1 on, also those that fail.
	Sequence int64 `json:"sequence"`
	// Began is before the first statement was sent, Ended after the last answer.
	Began time.Duration `json:"began"`
	Ended time.Duration `json:"ended"`

	Outcome Outcome `json:"outcome"`
	// Error is what the client got when it did not commit.
	Error string `json:"error,omitempty"`
	// Kind is what the transaction was for, as the workload names it.
	Kind string `json:"kind"`
	// Entries is how many rows it wrote into the journal; 0 for one that only reads.
	Entries    int         `json:"entries,omitempty"`
	Operations []Operation `json:"operations,omitempty"`
}

// TransactionID is the id of a client's transaction.
func TransactionID(node string, client int, sequence int64) string {
	return fmt.Sprintf("%s/%d/%d", node, client, sequence)
}

// ClientID names a client over all nodes.
func ClientID(node string, client int) string { return fmt.Sprintf("%s/%d", node, client) }

// OperationKind is what an operation does.
type OperationKind string

// The kinds of operations.
const (
	Insert   OperationKind = "insert"
	Update   OperationKind = "update"
	Delete   OperationKind = "delete"
	Truncate OperationKind = "truncate"
	// Read has found Value under Key.
	Read OperationKind = "read"
)

// Operation is one thing that a transaction did. What it would have done to rows that
// were not there is left out.
type Operation struct {
	Kind  OperationKind `json:"kind"`
	Table string        `json:"table"`
	Key   string        `json:"key,omitempty"`
	Value string        `json:"value,omitempty"`
	// Count is how many rows of the table it was; 0 means one.
	Count int `json:"count,omitempty"`
	// Wide: it wrote the row's large value as well, which others leave alone.
	Wide bool `json:"wide,omitempty"`
	// Collides names the lost node over whose write, which not all had received, this
	// one was written on purpose.
	Collides string `json:"collides,omitempty"`
}
