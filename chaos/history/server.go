package history

import (
	"time"

	"healer/topology"
)

// Server is what a server had at the end of a run.
type Server struct {
	Node string `json:"node"`
	// Journal has each transaction that left rows in the journal, in no order.
	Journal []Entry `json:"journal"`
	// Tables has the rows of the other tables, by table, sorted by key.
	Tables map[string][]Row `json:"tables"`
	// Sums has, for each node, the sum of its accounts.
	Sums map[string]string `json:"sums"`
	// Progress is what it has applied of each other node.
	Progress map[string]topology.LSN `json:"progress"`
	Left     Left                    `json:"left,omitzero"`
}

// Entry is what a server's journal has of one transaction.
type Entry struct {
	Transaction string `json:"transaction"`
	// Of is how many rows the transaction says that it wrote, Rows how many there
	// are, Distinct how many different ones.
	Of       int `json:"of"`
	Rows     int `json:"rows"`
	Distinct int `json:"distinct"`
	// First and Last are the smallest and the largest id of the transactions of this
	// server that wrote them: their order is that in which they were applied, and one
	// transaction has one.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Row is a row of a table.
type Row struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	// Transaction is the one that wrote it last.
	Transaction string `json:"transaction,omitempty"`
	// Wide is the one that wrote its large value, empty when it has none that is kept
	// outside of the row.
	Wide string `json:"wide,omitempty"`
	// At is its commit timestamp in microseconds since 1970; 0 when the server does
	// not know.
	At int64 `json:"at,omitempty"`
}

// Left is what a server has of recoveries that ended, or of strangers.
type Left struct {
	// Slots are the inactive slots that no subscription and no keeper has.
	Slots []string `json:"slots,omitempty"`
	// Fences are the nodes that it is fenced off from, Marks all other marks.
	Fences []string `json:"fences,omitempty"`
	Marks  []string `json:"marks,omitempty"`
	// Disabled are the nodes whose subscriptions are disabled.
	Disabled []string `json:"disabled,omitempty"`
	// Locks are the advisory locks that are held, Prepared the prepared transactions.
	Locks    []string `json:"locks,omitempty"`
	Prepared []string `json:"prepared,omitempty"`
}

// Sample is a reading of one server while the run lasted.
type Sample struct {
	Node string `json:"node"`
	// Asked is before the reading, At after it.
	Asked time.Duration `json:"asked"`
	At    time.Duration `json:"at"`
	// Seen has, for each client, the highest sequence of its transactions that the
	// server has.
	Seen map[string]int64 `json:"seen,omitempty"`
	// End is the end of the server's log after Seen was read.
	End topology.LSN `json:"end,omitempty"`
	// Slots has, for each peer, up to where the recovery slot for it had moved before
	// Seen was read.
	Slots map[string]topology.LSN `json:"slots,omitempty"`
	// Fences are the nodes that the server was fenced off from.
	Fences []string `json:"fences,omitempty"`
	// Appliers are the sessions that held a lock for a recovery on this server.
	Appliers []Applier `json:"appliers,omitempty"`
}

// Applier is a session that holds the recovery lock of an origin on a server.
type Applier struct {
	Origin string `json:"origin"`
	// Session is the backend that holds it: its process id and when it began.
	Session string `json:"session"`
}
