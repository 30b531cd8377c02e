package compare

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/rescue"
	"healer/topology"
)

// job is the comparison of one table.
type job struct {
	*run
	spec  Spec
	nodes []Node
	rels  []*relation
	sizes sizes

	// settling guards pending, and the connections by which rows are judged.
	settling sync.Mutex
	pending  []rescue.Key

	mu     sync.Mutex
	report Table
	rows   []Difference
}

// settleBatch is how many rows are judged behind one barrier.
const settleBatch = 4000

func (j *job) crew() *crew { return newCrew(j.nodes, j.opts.BlockTimeout) }

// estimate is how many rows the table has on the node with the most.
func (j *job) estimate() int64 {
	var rows int64
	for _, r := range j.rels {
		rows = max(rows, int64(r.def.Rows))
	}
	return rows
}

// compare runs the table's method to its end.
func (j *job) compare(ctx context.Context) error {
	method := map[Method]func(context.Context) error{
		Ranges: j.ranges, Buckets: j.inBuckets, Multiset: j.multiset,
	}[j.report.Method]
	err := method(ctx)
	j.settling.Lock()
	defer j.settling.Unlock()
	// What was found is told even when the rest could not be read.
	return errors.Join(err, j.flush(ctx))
}

// passed counts a block that has been compared, or left although it differs.
func (j *job) passed(sums []sum, unexplored int64) {
	j.mu.Lock()
	for i, s := range sums {
		j.report.Rows[j.nodes[i].Name] += s.rows
	}
	j.report.Blocks++
	j.report.Unexplored += unexplored
	j.mu.Unlock()
	_, rows := most(sums)
	j.progress(j.spec.Name.String(), rows, 0)
}

// counted counts rows of one node.
func (j *job) counted(at int, rows int64) {
	j.mu.Lock()
	j.report.Rows[j.nodes[at].Name] += rows
	j.mu.Unlock()
	if at == 0 {
		j.progress(j.spec.Name.String(), rows, 0)
	}
}

// enough reports whether no more differences are to be looked for.
func (j *job) enough() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.opts.Repair && j.report.Differing >= int64(j.opts.MaxDifferences)
}

// found takes note of a difference.
func (j *job) found(d Difference) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch rescue.RowState(d.State) {
	case rescue.RowUnsettled:
		j.report.Unsettled++
	case rescue.RowRepaired:
		j.report.Repaired++
		j.report.Differing++
	default:
		j.report.Differing++
	}
	j.progress(j.spec.Name.String(), 0, 1)
	if len(j.rows) < j.opts.MaxDifferences {
		j.rows = append(j.rows, d)
		j.report.Listed++
	}
}

// flush has the pending rows judged, and repaired if that is wanted. The caller
// holds settling.
func (j *job) flush(ctx context.Context) error {
	if len(j.pending) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	if j.opts.Repair {
		if err := j.opts.Guard(ctx); err != nil {
			return err
		}
	}
	// A row may have been found in two blocks, of nodes that do not sort alike.
	seen := map[string]bool{}
	j.pending = slices.DeleteFunc(j.pending, func(k rescue.Key) bool {
		again := seen[k.ID()]
		seen[k.ID()] = true
		return again
	})
	peers, err := j.peers(ctx)
	if err != nil {
		return err
	}
	set := rescue.RowSet{
		Table: j.spec.Name, KeyColumns: j.rels[0].keyNames(), Keys: j.pending, Columns: j.rels[0].columns,
		Deleted: j.opts.Deleted,
	}
	rows, err := rescue.CompareRows(ctx, peers, set, j.opts.Barrier, rescue.Policy{
		Rounds: j.opts.Rounds, Batch: settleBatch, ReportOnly: !j.opts.Repair, Source: j.opts.Source, Contested: j.opts.Contested,
	})
	j.pending = nil
	for _, r := range rows {
		j.found(j.difference(r))
	}
	return err
}

// peers are the table's nodes with connections that stay open for all tables.
func (j *job) peers(ctx context.Context) ([]rescue.Peer, error) {
	var out []rescue.Peer
	for _, n := range j.nodes {
		i := slices.IndexFunc(j.judges.nodes, func(o Node) bool { return o.Name == n.Name })
		conn, err := j.judges.conn(ctx, i)
		if err != nil {
			return nil, err
		}
		out = append(out, rescue.Peer{Node: n.Name, Conn: conn, Authors: n.Authors})
	}
	return out, nil
}

// difference renders a row that was judged.
func (j *job) difference(r rescue.Divergence) Difference {
	d := Difference{
		Table: j.spec.Name.String(), Key: r.Key, State: string(r.State), Winner: r.Winner, Losers: r.Losers,
	}
	for _, v := range r.Versions {
		out := Version{Node: v.Node, Digest: short(v.Digest), Author: v.Author, At: moment(v.At)}
		if v.Present {
			out.Copies = 1
		}
		d.Versions = append(d.Versions, out)
	}
	if r.Problem != nil {
		d.Problem = r.Problem.Error()
	}
	return d
}

func short(digest string) string { return digest[:min(len(digest), 32)] }

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// ofTable reports whether an error concerns one table, so that the others can be
// compared all the same.
func ofTable(err error) bool {
	if errors.Is(err, errNoTable) {
		return true
	}
	var fault *topology.Fault
	if errors.As(err, &fault) {
		return slices.Contains([]string{"key_differs", "table_missing", "source_unknown"}, fault.Code)
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	// Shutdowns, lost connections, a server that is full.
	for _, class := range []string{"57P", "08", "53"} {
		if strings.HasPrefix(pg.Code, class) {
			return false
		}
	}
	return true
}
