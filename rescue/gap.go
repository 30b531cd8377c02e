package rescue

import (
	"context"
	"slices"
	"time"

	"healer/topology"
)

// Gap says which transactions are to be carried over.
type Gap struct {
	// Origin is F, the lost node.
	Origin string
	// Source is S, the node whose WAL is read.
	Source string
	// SourceOrigin is the name of S's replication origin for F, as the ORIGIN
	// message of the stream carries it.
	SourceOrigin string
	// Floor and Watermark bound the gap in F's LSNs: Floor < lsn <= Watermark.
	// Floor is T's progress when the gap was first seen, not T's progress
	// now: the keys of what an earlier attempt carried over count as touched.
	Floor, Watermark topology.LSN
	// Tables are the tables which T subscribes to from F; changes of other
	// tables are not T's business.
	Tables []topology.TableName
	// Sift leaves out rows that F does not send to T; nil when the stream has none.
	Sift *Sieve
	// Queue is the table whose rows are no rows of T, but messages of the engine; none when
	// its name is empty. Take gets those of the gap that T has not got, and an error of it
	// ends the replay.
	Queue topology.TableName
	Take  func(ctx context.Context, lsn topology.LSN, message map[string]string) error
	// Authors maps the names of S's replication origins to nodes, so that a
	// DELETE in S's WAL is known by its author. A transaction without an
	// origin is S's own.
	Authors map[string]string
	// Settle is called once T has the gap. It waits until every survivor has
	// applied what the others had committed (a Barrier), and returns S's flushed
	// LSN after that. What S logged up to there T may have received while it
	// lacked the rows of the gap, and skipped; the stream is read to there, for
	// deletions and moved keys. Nil ends the stream at its Until, and leaves what
	// came later to what Verify can infer.
	Settle func(ctx context.Context) (topology.LSN, error)
	// Free is called now and then while Settle waits, with what the gap has touched: it
	// may call the function of that name, when apply workers of survivors fail over and
	// over. Nil leaves them to fail.
	Free func(ctx context.Context, touched *Touched)
	// Again ends the stream under way, and opens another of the same clone from its
	// beginning. A row of the gap whose unique value another row of T has needs it;
	// nil makes such a row a Fault "constraint_violated".
	Again func(ctx context.Context) (*Stream, error)
	// Concede calls the function of that name with connections to all survivors. It
	// is needed when their workers stand still at such a row; nil makes that a Fault.
	Concede func(ctx context.Context, c Concession) (bool, error)
	// ClashWait is how long the survivors may take to exchange what they have before
	// they are taken to stand still: 15 seconds by default.
	ClashWait time.Duration
	// Spill is for the touched keys of a large gap.
	Spill Spill
}

// has reports whether a transaction is one of the gap.
func (g Gap) has(origin string, lsn topology.LSN) bool {
	return origin == g.SourceOrigin && origin != "" && lsn > g.Floor && lsn <= g.Watermark
}

// author names the node that wrote a transaction of S's WAL; empty when its
// origin is none of the mesh.
func (g Gap) author(origin string) string {
	switch origin {
	case "":
		return g.Source
	case g.SourceOrigin:
		return g.Origin
	}
	return author(g.Authors, origin)
}

// Report is what a replay did.
type Report struct {
	// From and To are T's progress before and after.
	From topology.LSN `json:"from"`
	To   topology.LSN `json:"to"`
	// Transactions of the gap were seen in the stream with at least one change
	// of T's tables; Applied of them were applied now, the others by an
	// earlier attempt.
	Transactions int64 `json:"transactions"`
	Applied      int64 `json:"applied"`
	// Keys says where the touched keys are: "memory", or "disk" when there were
	// too many.
	Keys string `json:"keys"`
	// Rows counts the row changes applied now, conflicts among them.
	Rows int64 `json:"rows"`
	// Bytes is the size of the row changes applied now, as the source's log decodes to
	// them (messages of pgoutput).
	Bytes int64 `json:"bytes"`
	// Tables has the tables with changes applied now, sorted by name.
	Tables []TableReport `json:"tables,omitempty"`
	// Conflicts are those of the transactions applied now, and the one that
	// stopped the replay if one did.
	Conflicts topology.ConflictLog `json:"conflicts"`
}

// anew drops what a pass over the gap counts for itself.
func (r *Report) anew() {
	r.Transactions = 0
	for i := range r.Tables {
		r.Tables[i].LeftOut = 0
	}
}

// TableReport counts what a replay did to one table.
type TableReport struct {
	Table   string `json:"table"`
	Inserts int64  `json:"inserts"`
	Updates int64  `json:"updates"`
	Deletes int64  `json:"deletes"`
	// Truncates counts the TRUNCATEs, each of which deletes what is not newer.
	Truncates int64 `json:"truncates,omitempty"`
	// LeftOut counts the changes in the gap to a table that T does not
	// replicate from F; they are not T's business, and not among Rows.
	LeftOut int64 `json:"left_out,omitempty"`
	// Conflicts counts by kind; kinds that did not occur are left out.
	// Missing and newer are told apart by the state of T at the end of the
	// batch in which the conflict was met.
	Conflicts map[topology.ConflictKind]int64 `json:"conflicts,omitempty"`
}

// table returns the entry of a table, kept sorted by name.
func (r *Report) table(name string) *TableReport {
	i, ok := slices.BinarySearchFunc(r.Tables, name, func(t TableReport, n string) int {
		switch {
		case t.Table < n:
			return -1
		case t.Table > n:
			return 1
		}
		return 0
	})
	if !ok {
		r.Tables = slices.Insert(r.Tables, i, TableReport{Table: name})
	}
	return &r.Tables[i]
}

func (t *TableReport) conflict(kind topology.ConflictKind, n int64) {
	if t.Conflicts == nil {
		t.Conflicts = map[topology.ConflictKind]int64{}
	}
	t.Conflicts[kind] += n
}

// repairPrefix begins the names of the origins under which repairs are written:
// the rest is the author of the version that won.
const repairPrefix = "healer:repair:"

// author maps an origin's name to the node whose writes it marks.
func author(authors map[string]string, origin string) string {
	if node, ok := authors[origin]; ok {
		return node
	}
	if len(origin) > len(repairPrefix) && origin[:len(repairPrefix)] == repairPrefix {
		return origin[len(repairPrefix):]
	}
	return ""
}
