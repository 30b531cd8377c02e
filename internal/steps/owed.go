package steps

import (
	"context"
	"fmt"
	"slices"
	"strconv"
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
// Of a survivor that is fenced off itself the comparison has left rows out.
func (r *Run) owe(ctx context.Context, p planner.Plan, target string) error {
	lane, _ := p.Lane(target)
	if p.Kind != planner.Recovery || r.untouched(target) {
		return nil
	}
	for _, other := range append(r.away(p, target), r.apart(p)...) {
		for _, node := range []string{target, lane.Source} {
			if node == "" || node == other {
				continue
			}
			if err := r.Engine.Owe(ctx, node, other, p.Node); err != nil {
				return err
			}
		}
	}
	return nil
}

// oweItself marks a reader that lacks what others have received of the node, because its gap
// could not be carried: the node brings that now, after the others may have changed these
// rows, and after those changes have reached the reader.
func (r *Run) oweItself(ctx context.Context, p planner.Plan, reader topology.NodeState) error {
	sub, reads := reader.From(p.Node)
	if !reads || sub.Progress >= p.Watermark {
		return nil
	}
	if err := r.Engine.Owe(ctx, reader.Name, p.Node, p.Node); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owes = true
	return nil
}

// compared reports whether all rows will be compared with a node that is let in: then what
// is in the way of what it brings may go, also if that does not come again.
func (r *Run) compared(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owes || slices.ContainsFunc(r.obs.Nodes, func(n topology.NodeState) bool { return len(n.OwedTo(node)) > 0 })
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

// apart are the survivors that others have fenced off, because they are back and not
// admitted yet: what they wrote meanwhile will come over their streams.
func (r *Run) apart(p planner.Plan) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range p.Survivors {
		if slices.ContainsFunc(r.obs.Nodes, func(n topology.NodeState) bool {
			_, fenced := n.FenceOf(s)
			return fenced && slices.Contains(p.Survivors, n.Name)
		}) {
			out = append(out, s)
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

// applyCompare compares all tables of those that take part, and removes the marks that
// are about any of them when all rows are equal. What each of them may have deleted counts,
// not only the node's own: else its comparison would put back what another had deleted.
// Killed before, the marks have it done again.
func (r *Run) applyCompare(ctx context.Context, p planner.Plan, _ planner.Step) (executor.Result, error) {
	obs, err := r.look(ctx, r.Trigger().Lost)
	if err != nil {
		return executor.Result{}, err
	}
	nodes := append([]string{p.Node}, p.Survivors...)
	peers, pairs, err := r.mesh(nodes, obs)
	if err != nil {
		return executor.Result{}, err
	}
	specs, err := tables.Of(ctx, r.Engine, pairs)
	if err != nil {
		return executor.Result{}, err
	}
	owed := owedTo(nodes, obs)
	deleted, unknown, err := r.deletedThere(ctx, owed, obs)
	if err != nil {
		return executor.Result{}, err
	}
	home, err := r.deletedAtHome(ctx, owed, nodes, obs)
	if err != nil {
		return executor.Result{}, err
	}
	deleted = append(deleted, home...)
	for _, of := range append([]string{p.Node}, absent(owed, nodes)...) {
		all, err := r.deletedByAll(ctx, p.Node, of, p.Survivors, obs)
		if err != nil {
			return executor.Result{}, err
		}
		deleted = append(deleted, all...)
	}
	resolution, err := r.resolution(ctx, p)
	if err != nil {
		return executor.Result{}, err
	}
	var report compare.Report
	for again := true; again; {
		report, err = compare.Run(ctx, peers, specs, compare.Options{
			Cluster: p.Cluster, Repair: true, Contested: resolution == rescue.Stop, Deleted: deleted,
			Barrier: r.freely(p, nodes, pairs),
		})
		if err != nil {
			return executor.Result{}, r.Wrap(p.Node, err)
		}
		if again, err = r.tookOff(); err != nil {
			return executor.Result{}, err
		}
	}
	res := executor.Result{
		Evidence: fmt.Sprintf("%d rows compared on %s, %d differed, %d repaired", report.Rows, strings.Join(nodes, ", "), report.Differing, report.Repaired) + unknown,
		Figures:  map[string]int64{executor.FigureCompared: report.Rows, executor.FigureRepaired: report.Repaired},
	}
	if report.Result != compare.Equal {
		return res, unequalRows(p, report)
	}
	for _, n := range obs.Nodes {
		for _, o := range n.Owed {
			if !slices.Contains(nodes, o.Node) || !n.Reachable {
				continue
			}
			if err := r.Engine.ForgetMark(ctx, n.Name, o.Node, o.Mark); err != nil {
				return res, err
			}
		}
	}
	return res, nil
}

// owedTo are the comparisons that are owed to any of the nodes, each once.
func owedTo(nodes []string, obs topology.Observation) (out []topology.Owed) {
	for _, n := range obs.Nodes {
		for _, o := range n.Owed {
			if slices.Contains(nodes, o.Node) && !slices.Contains(out, o) {
				out = append(out, o)
			}
		}
	}
	return out
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
		peers = append(peers, compare.Node{Name: name, Connect: server.Session, Authors: n.Authors()})
	}
	for _, pair := range mutual(nodes) {
		to, _ := obs.Node(pair.To)
		if sub, ok := to.From(pair.From); ok && sub.Enabled {
			pairs = append(pairs, pair)
		}
	}
	return peers, pairs, nil
}

// deletedThere says which rows of a gap's origin a node has deleted, because it lacks
// them now: those written before the last transaction of the origin that it has applied,
// for it applied them in their order. Of whom that is not known any more it tells.
func (r *Run) deletedThere(ctx context.Context, owed []topology.Owed, obs topology.Observation) (out []rescue.Deletion, unknown string, err error) {
	for _, o := range owed {
		if o.Node == o.Origin {
			continue // see deletedAtHome
		}
		n, _ := obs.Node(o.Node)
		sub, reads := n.From(o.Origin)
		var last time.Time
		if reads {
			if last, err = r.Engine.LastCommit(ctx, o.Node, sub); err != nil {
				return nil, "", err
			}
		}
		if last.IsZero() {
			unknown += fmt.Sprintf("; up to when %s had received %s is not known: rows of %s that it lacks were put back, although it may have deleted them", o.Node, o.Origin, o.Origin)
			continue
		}
		out = append(out, rescue.Deletion{Holder: o.Node, Author: o.Node, Of: o.Origin, At: last.Add(time.Microsecond)})
	}
	return out, unknown, nil
}

// deletedAtHome says the same of the gaps' origins: whoever wrote a row has had it. A
// laggard may delete a row before its gap inserts it anew there, and have nobody who
// receives that deletion until the gap is closed: then it alone has the row. An origin
// that is fenced off, and so not checked yet, may as well have lost what it wrote.
func (r *Run) deletedAtHome(ctx context.Context, owed []topology.Owed, nodes []string, obs topology.Observation) (out []rescue.Deletion, err error) {
	said := map[string]bool{}
	for _, o := range owed {
		fenced := func(n topology.NodeState) bool { _, ok := n.FenceOf(o.Origin); return ok }
		if said[o.Origin] || !slices.Contains(nodes, o.Origin) || slices.ContainsFunc(obs.Nodes, fenced) {
			continue
		}
		said[o.Origin] = true
		now, err := r.clock(ctx, o.Origin)
		if err != nil {
			return nil, err
		}
		out = append(out, rescue.Deletion{Holder: o.Origin, Author: o.Origin, Of: o.Origin, At: now})
	}
	return out, nil
}

// absent are the origins of the gaps that take no part themselves.
func absent(owed []topology.Owed, nodes []string) (out []string) {
	for _, o := range owed {
		if !slices.Contains(nodes, o.Origin) && !slices.Contains(out, o.Origin) {
			out = append(out, o.Origin)
		}
	}
	return out
}

// deletedByAll says which rows of an origin, the node itself or one that is absent, the
// node alone has because all others have deleted them: those written before the last
// transaction of the origin that each has applied. A laggard may delete an old version
// before its gap brings it a newer one, and the others remove that one when the deletion
// reaches them. As long as another node is away, fenced off or owed a comparison, or a gap
// is open, others may only have skipped what the origin did to a row that they had never
// had: then that is not known.
func (r *Run) deletedByAll(ctx context.Context, node, of string, others []string, obs topology.Observation) ([]rescue.Deletion, error) {
	unsettled := func(n topology.NodeState) bool {
		part := n.Name == node || n.Name == of || slices.Contains(others, n.Name)
		fenced := func(f topology.Fence) bool { return of == node || f.Origin != of }
		owed := func(o topology.Owed) bool { return o.Node != node && o.Node != of }
		return !part || len(n.Gaps) > 0 || slices.ContainsFunc(n.Fences, fenced) || slices.ContainsFunc(n.Owed, owed)
	}
	if len(others) == 0 || slices.ContainsFunc(obs.Nodes, unsettled) {
		return nil, nil
	}
	out := rescue.Deletion{Of: of, All: others}
	for _, name := range others {
		n, _ := obs.Node(name)
		sub, reads := n.From(of)
		if !reads {
			return nil, nil
		}
		last, err := r.Engine.LastCommit(ctx, name, sub)
		if err != nil || last.IsZero() {
			return nil, err
		}
		if at := last.Add(time.Microsecond); out.Holder == "" || at.Before(out.At) {
			out.Holder, out.Author, out.At = name, name, at
		}
	}
	return []rescue.Deletion{out}, nil
}

// clock is the time on a node's server, which stamps what is written there.
func (r *Run) clock(ctx context.Context, node string) (now time.Time, err error) {
	conn, err := r.session(ctx, node)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	got, err := conn.Exec(ctx, `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text`).ReadAll()
	if err != nil {
		return time.Time{}, r.Wrap(node, fmt.Errorf("the time on the server: %w", err))
	}
	micros, err := strconv.ParseInt(string(got[0].Rows[0][0]), 10, 64)
	return time.UnixMicro(micros).UTC(), err
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
