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

// owe marks, before a gap counts as closed, that its rows were not compared with those
// that are away. A laggard may have received what one of them did to rows that it lacked,
// and skipped it, and nobody else: no log has that any more. The mark is on the laggard and
// on its source, because one of them may be lost as well.
func (r *Run) owe(ctx context.Context, p planner.Plan, target string) error {
	lane, _ := p.Lane(target)
	if p.Kind != planner.Recovery || r.untouched(target) {
		return nil
	}
	for _, other := range r.away(p, target) {
		for _, node := range []string{target, lane.Source} {
			if node == "" {
				continue
			}
			if err := r.Engine.Owe(ctx, node, other, p.Node); err != nil {
				return err
			}
		}
	}
	return nil
}

// untouched reports whether this run has seen that the gap changed no row.
func (r *Run) untouched(target string) bool {
	r.mu.Lock()
	l := r.lanes[target]
	r.mu.Unlock()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.touched != nil && l.touched.Len() == 0
}

// away are the nodes that the target reads from, besides the lost one, and that took no
// part.
func (r *Run) away(p planner.Plan, target string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, _ := r.obs.Node(target)
	for _, n := range r.obs.Nodes {
		_, reads := t.From(n.Name)
		if reads && n.Name != p.Node && !n.InRecovery && !slices.Contains(p.Survivors, n.Name) {
			out = append(out, n.Name)
		}
	}
	return out
}

// checkCompare: no node has a mark that rows are still to be compared.
func (r *Run) checkCompare(ctx context.Context, p planner.Plan, _ planner.Step) (bool, string, error) {
	for _, name := range p.Survivors {
		n, err := r.observe(ctx, name)
		if err != nil || len(n.OwedTo(p.Node)) > 0 {
			return false, "", err
		}
	}
	return true, "no comparison with " + p.Node + " is owed", nil
}

// applyCompare compares all tables with the node, once for each gap, and removes the
// marks when all rows are equal. Killed before, the marks have it done again.
func (r *Run) applyCompare(ctx context.Context, p planner.Plan, _ planner.Step) (executor.Result, error) {
	obs := r.Engine.ObserveAll(ctx, r.Trigger().Lost...)
	if err := ctx.Err(); err != nil {
		return executor.Result{}, err
	}
	marks := map[string][]topology.Owed{} // by the node that has them
	var origins []string
	for _, n := range obs.Nodes {
		if n.Reachable {
			marks[n.Name] = n.OwedTo(p.Node)
		}
		for _, o := range marks[n.Name] {
			origins = append(origins, o.Origin)
		}
	}
	slices.Sort(origins)
	res := executor.Result{Figures: map[string]int64{executor.FigureCompared: 0, executor.FigureRepaired: 0}}
	for _, origin := range slices.Compact(origins) {
		if err := r.compareOwed(ctx, p, obs, origin, &res); err != nil {
			return res, err
		}
	}
	for node, owed := range marks {
		for _, o := range owed {
			if err := r.Engine.ForgetMark(ctx, node, p.Node, o.Mark); err != nil {
				return res, err
			}
		}
	}
	return res, nil
}

// compareOwed is the comparison for the gap of one origin.
func (r *Run) compareOwed(ctx context.Context, p planner.Plan, obs topology.Observation, origin string, res *executor.Result) error {
	peers, pairs, err := r.mesh(append([]string{p.Node}, p.Survivors...), obs)
	if err != nil {
		return err
	}
	specs, err := tables.Of(ctx, r.Engine, pairs)
	if err != nil {
		return err
	}
	deleted, err := r.deletedThere(ctx, p.Node, origin, obs)
	if err != nil {
		return err
	}
	report, err := compare.Run(ctx, peers, specs, compare.Options{
		Cluster: p.Cluster, Repair: true, Contested: r.Conflicts == rescue.Stop, Deleted: deleted,
		Barrier: func(ctx context.Context) error { return r.Engine.Barrier(ctx, pairs) },
	})
	if err != nil {
		return r.Wrap(p.Node, err)
	}
	res.Figures[executor.FigureCompared] += report.Rows
	res.Figures[executor.FigureRepaired] += report.Repaired
	said := fmt.Sprintf("%s was away while the gap of %s was carried: %d rows compared, %d differed, %d repaired", p.Node, origin, report.Rows, report.Differing, report.Repaired)
	if deleted == nil {
		said += fmt.Sprintf("; up to when %s had received %s is not known any more: rows that it lacks were put back, although it may have deleted them", p.Node, origin)
	}
	res.Evidence = strings.TrimPrefix(res.Evidence+"; "+said, "; ")
	if report.Result == compare.Equal {
		return nil
	}
	return unequalRows(p, report)
}

// mesh are the nodes to compare, and the pairs of which one reads from the other.
func (r *Run) mesh(nodes []string, obs topology.Observation) (peers []compare.Node, pairs []engine.Pair, err error) {
	for _, name := range nodes {
		n, _ := obs.Node(name)
		if !n.Reachable {
			return nil, nil, topology.Faultf(topology.Transient, "node_unreachable", "%s cannot be read: %s", name, n.Problem)
		}
		server, err := r.server(name)
		if err != nil {
			return nil, nil, err
		}
		peers = append(peers, compare.Node{Name: name, Connect: server.Session, Authors: authors(n)})
	}
	for _, pair := range mutual(nodes) {
		to, _ := obs.Node(pair.To)
		if sub, ok := to.From(pair.From); ok && sub.Enabled {
			pairs = append(pairs, pair)
		}
	}
	return peers, pairs, nil
}

// deletedThere says which of origin's rows the node has deleted, because it lacks them
// now: those written before the last transaction of origin that it has applied, for it
// applied them in their order. Nil when that is not known any more.
func (r *Run) deletedThere(ctx context.Context, node, origin string, obs topology.Observation) (*rescue.Deletion, error) {
	n, _ := obs.Node(node)
	sub, ok := n.From(origin)
	if !ok {
		return nil, nil //nolint:nilnil // nothing is known
	}
	last, err := r.Engine.LastCommit(ctx, node, sub)
	if err != nil || last.IsZero() {
		return nil, err
	}
	return &rescue.Deletion{Holder: node, Author: node, Of: origin, At: last.Add(time.Microsecond)}, nil
}

// unequalRows is the end of a comparison with a node that is back that could not make
// all rows equal: the marks stay.
func unequalRows(p planner.Plan, report compare.Report) error {
	bad, class := differing(report)
	return &topology.Fault{
		Class: class, Code: "rows_differ", Node: p.Node,
		Hint: "healer verify --repair --dry-run shows them; make them equal on all nodes, then it goes on",
		Err:  fmt.Errorf("the rows of %s and %s could not all be made equal: %s", p.Node, strings.Join(p.Survivors, ", "), bad),
	}
}
