package compare

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/rescue"
	"healer/topology"
)

// Node is a server to compare.
type Node struct {
	Name string
	// Connect opens a connection of its own, which the comparison closes.
	Connect func(ctx context.Context) (*pgconn.PgConn, error)
	// Authors maps the names of the node's replication origins to nodes.
	Authors map[string]string
}

// Spec is a table to compare.
type Spec struct {
	Name topology.TableName
	// Nodes are those that have the table, two at least; nil means all.
	Nodes []string
	// Columns are those that are replicated; nil means all that every node stores.
	Columns []string
	// Filters are SQL conditions, by the table's unqualified columns, all of which
	// hold for the rows that are replicated.
	Filters []string
}

// Options bound and direct a comparison. A zero field means the default.
type Options struct {
	// Cluster is for the report.
	Cluster string
	// BlockRows is how many rows a block has: 16384 by default.
	BlockRows int
	// Concurrency is how many blocks are compared at the same time, each with one
	// connection to every node: 2 by default. Tables that are not compared by
	// ranges are read by one connection to every node.
	Concurrency int
	// Pause is how long each of them rests behind a block.
	Pause time.Duration
	// BlockTimeout ends a statement that takes longer: a minute by default.
	BlockTimeout time.Duration
	// MaxDifferences is how many rows of a table are listed: 1000 by default.
	// Unless they are repaired, no more are looked for either.
	MaxDifferences int
	// Rounds is how often a row that is being written is read again: 20 by default.
	Rounds int
	// Repair writes what last update wins decides; Source names the node whose rows
	// stand instead, and Contested leaves rows that different nodes have written.
	Repair    bool
	Source    string
	Contested bool
	// Deleted is what it means that a node lacks a row; see rescue.RowSet.
	Deleted []rescue.Deletion
	// Barrier returns when every node has applied what the others had committed.
	Barrier rescue.Barrier
	// Guard is asked before rows are repaired; its error ends the comparison. Nil
	// allows all.
	Guard func(ctx context.Context) error
	// Progress is told of what has been compared, from one goroutine at a time;
	// nil tells nobody.
	Progress func(Progress)
}

// Progress is how far a comparison has come.
type Progress struct {
	Table string
	// Rows is how many have been compared, Total the planner's estimate of all.
	Rows, Total int64
	// Differing is how many differences are known.
	Differing int64
}

func (o Options) complete() Options {
	for _, d := range []struct {
		field *int
		value int
	}{{&o.BlockRows, 16384}, {&o.Concurrency, 2}, {&o.MaxDifferences, 1000}, {&o.Rounds, 20}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if o.BlockTimeout <= 0 {
		o.BlockTimeout = time.Minute
	}
	if o.Guard == nil {
		o.Guard = func(context.Context) error { return nil }
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	return o
}
