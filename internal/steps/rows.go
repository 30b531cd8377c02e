package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/compare"
	"healer/executor"
	"healer/internal/tables"
	"healer/planner"
	"healer/postgres/engine"
	"healer/rescue"
	"healer/topology"
)

// checkRows: done only when this run has compared the rows itself. Nothing durable
// says so.
func (r *Run) checkRows(_ context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	l, err := r.laneOf(p, s)
	if err != nil {
		return false, "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.equal || l.session == nil || l.session.Progress() < l.To {
		return false, "", nil
	}
	return true, fmt.Sprintf("the rows of %s are those of %s, up to %s", l.Target, l.Source, l.To), nil
}

// applyRows carries a gap as rows. The apply session holds the lock and the origin
// from before the first row to the end, and the target's progress is moved, by one
// commit, only when the tables were compared whole and were equal. Killed before that
// it has written rows and nothing else: the mark and the progress say that the gap is
// open, and a replay, should a log turn up, meets rows that are its own. Killed after
// it, the mark has the rows compared once more.
func (r *Run) applyRows(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	l, err := r.laneOf(p, s)
	if err != nil {
		return executor.Result{}, err
	}
	if err := r.proven(ctx, p, l.Source); err != nil {
		return executor.Result{}, err
	}
	session, err := r.acquire(ctx, p, l)
	if err != nil {
		return executor.Result{}, err
	}
	if err := r.prepared(ctx, p, l); err != nil {
		return executor.Result{}, err
	}
	if _, err := r.Engine.MarkGap(ctx, l.Target, p.Node, l.From, l.To); err != nil {
		return executor.Result{}, err
	}
	r.comparing.Lock()
	defer r.comparing.Unlock()
	report, deleted, err := r.wholly(ctx, p, l)
	if err != nil {
		return executor.Result{}, err
	}
	res := executor.Result{
		Evidence: rowsEvidence(p, l, report, deleted, session.Progress()),
		Figures: map[string]int64{
			executor.FigureCompared: report.Rows, executor.FigureRepaired: report.Repaired, "rows_differing": report.Differing,
		},
	}
	if report.Result != compare.Equal {
		return res, notEqual(p, l, report)
	}
	if err := session.Reach(ctx, l.To); err != nil {
		l.broken(context.WithoutCancel(ctx))
		return res, r.Wrap(l.Target, err)
	}
	l.mu.Lock()
	l.equal = true
	l.mu.Unlock()
	return res, nil
}

// wholly compares all tables of those that take part, and makes their rows equal.
// Laggards that get transactions are left out: what they lack comes in its order.
func (r *Run) wholly(ctx context.Context, p planner.Plan, l *lane) (compare.Report, *rescue.Deletion, error) {
	var nodes []string
	var peers []compare.Node
	for _, name := range p.Survivors {
		if lane, lags := p.Lane(name); lags && !lane.Rows {
			continue
		}
		state, _, err := r.seen(p, name)
		if err != nil {
			return compare.Report{}, nil, err
		}
		server, err := r.server(name)
		if err != nil {
			return compare.Report{}, nil, err
		}
		nodes = append(nodes, name)
		peers = append(peers, compare.Node{Name: name, Connect: server.Session, Authors: state.Authors()})
	}
	pairs, err := r.exchanging(p, nodes)
	if err != nil {
		return compare.Report{}, nil, err
	}
	specs, err := tables.Of(ctx, r.Engine, pairs)
	if err != nil {
		return compare.Report{}, nil, err
	}
	if err := r.covered(ctx, p, l, specs); err != nil {
		return compare.Report{}, nil, err
	}
	deleted, err := r.deletion(ctx, p, l)
	if err != nil {
		return compare.Report{}, nil, err
	}
	var known []rescue.Deletion
	if deleted != nil {
		known = append(known, *deleted)
	}
	resolution, err := r.resolution(ctx, p)
	if err != nil {
		return compare.Report{}, nil, err
	}
	report, err := compare.Run(ctx, peers, specs, compare.Options{
		Cluster: p.Cluster, Repair: true, Contested: resolution == rescue.Stop, Deleted: known,
		Barrier: func(ctx context.Context) error { return r.Engine.Barrier(ctx, pairs) },
	})
	return report, deleted, r.Wrap(l.Target, err)
}

// exchanging are the pairs of the nodes of which one reads from the other.
func (r *Run) exchanging(p planner.Plan, nodes []string) ([]engine.Pair, error) {
	var out []engine.Pair
	for _, pair := range mutual(nodes) {
		to, _, err := r.seen(p, pair.To)
		if err != nil {
			return nil, err
		}
		if _, ok := to.From(pair.From); ok {
			out = append(out, pair)
		}
	}
	return out, nil
}

// covered refuses what a comparison cannot show: a table that the target gets from the
// lost node, and that source and target do not exchange, or not whole. Rows of it may
// differ because they may, and what the gap did to it would be lost.
func (r *Run) covered(ctx context.Context, p planner.Plan, l *lane, specs []compare.Spec) error {
	_, sub, err := r.seen(p, l.Target)
	if err != nil {
		return err
	}
	received, err := r.tables(ctx, p, l.Target, sub)
	if err != nil {
		return err
	}
	var bare []string
	for _, t := range received {
		whole := slices.ContainsFunc(specs, func(s compare.Spec) bool {
			return s.Name == t && s.Columns == nil && s.Filters == nil &&
				slices.Contains(s.Nodes, l.Source) && slices.Contains(s.Nodes, l.Target)
		})
		if !whole {
			bare = append(bare, t.String())
		}
	}
	if len(bare) == 0 {
		return nil
	}
	return &topology.Fault{
		Class: topology.Permanent, Code: "rows_uncovered", Node: l.Target, Hint: "healer node rebuild " + l.Target,
		Err: fmt.Errorf("%s receives from %s what it does not exchange whole with %s: which rows of %s the gap changed no comparison can show",
			l.Target, p.Node, l.Source, strings.Join(bare, ", ")),
	}
}

// deletion says which rows the source lacks because the lost node deleted them: those
// last written before the first of the gaps that are carried as rows began. Nil when
// that is not known any more. It refuses a source that does not know when it got the gap.
func (r *Run) deletion(ctx context.Context, p planner.Plan, l *lane) (*rescue.Deletion, error) {
	var since time.Time
	for _, lane := range p.Lanes {
		if !lane.Rows {
			continue
		}
		_, sub, err := r.seen(p, lane.Target)
		if err != nil {
			return nil, err
		}
		last, err := r.Engine.LastCommit(ctx, lane.Target, sub)
		if err != nil || last.IsZero() {
			return nil, err
		}
		if since.IsZero() || last.Before(since) {
			since = last
		}
	}
	_, sub, err := r.seen(p, l.Source)
	if err != nil {
		return nil, err
	}
	known, err := r.Engine.Stamped(ctx, l.Source, sub, since)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, rescue.Unstamped(l.Source, p.Node, since, "healer node rebuild "+l.Target)
	}
	return &rescue.Deletion{Holder: l.Source, Author: p.Node, At: since.Add(time.Microsecond)}, nil
}

// rowsEvidence says plainly what was carried.
func rowsEvidence(p planner.Plan, l *lane, report compare.Report, deleted *rescue.Deletion, from topology.LSN) string {
	written, gone := report.LastBy(p.Node)
	said := fmt.Sprintf("ROWS, NOT TRANSACTIONS, from %s to %s, progress %s -> %s: %d rows compared, %d differed, %d repaired; of those listed %s wrote %d last and deleted %d; "+
		"states in between, and the order and the bounds of its transactions, are lost",
		l.Source, l.Target, from, l.To, report.Rows, report.Differing, report.Repaired, p.Node, written, gone)
	if deleted == nil {
		said += "; when the gap began is not known any more: rows that " + l.Source + " lacks were put back, although " + p.Node + " may have deleted them"
	}
	return said
}

// notEqual is the end of a comparison that could not make all rows equal: nothing
// counts as carried, and the fence and the mark stay.
func notEqual(p planner.Plan, l *lane, report compare.Report) error {
	bad, class := differing(report)
	return &topology.Fault{
		Class: class, Code: "rows_differ", Node: l.Target,
		Hint: "healer verify --repair --dry-run --origin " + p.Node + " shows them; make them equal on both, then it goes on; or healer node rebuild " + l.Target,
		Err:  fmt.Errorf("the rows of %s and %s could not all be made equal, so nothing of %s counts as carried: %s", l.Source, l.Target, p.Node, bad),
	}
}

// differing names the tables whose rows could not be made equal, and says whether that
// may pass.
func differing(report compare.Report) (string, topology.Class) {
	var bad []string
	for _, t := range report.Tables {
		if left := t.Differing - t.Repaired; left > 0 || t.Unsettled > 0 || t.Problem != "" {
			said := fmt.Sprintf("%s: %d differ, %d unsettled", t.Table, left, t.Unsettled)
			if t.Problem != "" {
				said += ", " + t.Problem
			}
			bad = append(bad, said)
		}
	}
	class := topology.Permanent
	if report.Result == compare.Incomplete && !slices.ContainsFunc(report.Tables, func(t compare.Table) bool { return t.Problem != "" }) {
		class = topology.Transient // rows were being written: they may rest the next time
	}
	return strings.Join(bad, "; "), class
}
