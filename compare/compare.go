package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// run is a comparison.
type run struct {
	opts   Options
	nodes  []Node
	judges *crew

	told sync.Mutex
	now  Progress
}

// Run compares the tables on the nodes, two at least. An error means that the
// comparison broke off; the report has what was found until then. What concerns
// one table alone is its Problem in the report.
func Run(ctx context.Context, nodes []Node, tables []Spec, opts Options) (report Report, err error) {
	if len(nodes) < 2 {
		return report, topology.Faultf(topology.Permanent, "one_node", "%d nodes: there is nothing to compare with", len(nodes))
	}
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	r := &run{opts: opts.complete(), nodes: nodes}
	r.judges = newCrew(nodes, r.opts.BlockTimeout)
	defer func() { r.judges.close(ctx) }()
	report = Report{
		Cluster: opts.Cluster, Repair: opts.Repair, Started: time.Now().UTC(), Tables: []Table{}, Differences: []Difference{},
	}
	for _, n := range nodes {
		report.Nodes = append(report.Nodes, n.Name)
	}
	jobs, err := r.prepare(ctx, tables)
	for _, j := range jobs {
		if err == nil && j.report.Problem == "" {
			err = j.problem(j.compare(ctx))
		}
		report.Tables = append(report.Tables, j.report)
		report.Differences = append(report.Differences, j.rows...)
	}
	report.Seconds = time.Since(report.Started).Seconds()
	report.conclude()
	if err != nil && report.Result == Equal {
		report.Result = Incomplete
	}
	return report, err
}

// problem keeps an error that concerns the table alone.
func (j *job) problem(err error) error {
	if err == nil || !ofTable(err) {
		return err
	}
	j.report.Problem = err.Error()
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "57014" {
		j.report.Problem = fmt.Sprintf("a block took longer than %s: allow it more time, or make blocks smaller", j.opts.BlockTimeout)
	}
	return nil
}

// prepare reads what the nodes have of the tables.
func (r *run) prepare(ctx context.Context, tables []Spec) ([]*job, error) {
	c := newCrew(r.nodes, r.opts.BlockTimeout)
	defer c.close(ctx)
	var jobs []*job
	for _, spec := range tables {
		j := &job{run: r, spec: spec, sizes: sizesFor(r.opts.BlockRows)}
		j.report = Table{Table: spec.Name.String(), Rows: map[string]int64{}}
		jobs = append(jobs, j)
		if err := j.problem(j.define(ctx, c)); err != nil {
			return jobs, err
		}
		r.now.Total += j.estimate()
	}
	return jobs, nil
}

// define reads the table on its nodes, and chooses how to compare it.
func (j *job) define(ctx context.Context, c *crew) error {
	var defs []*definition
	for at, n := range j.run.nodes {
		if j.spec.Nodes != nil && !slices.Contains(j.spec.Nodes, n.Name) {
			continue
		}
		conn, err := c.conn(ctx, at)
		if err != nil {
			return err
		}
		d, err := define(ctx, conn, j.spec.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		j.nodes = append(j.nodes, n)
		defs = append(defs, d)
	}
	if len(defs) < 2 {
		j.report.Problem = "only one of the nodes has it"
		return nil
	}
	key := sharedKey(defs)
	method, why := choose(defs, key)
	columns, odd := sharedColumns(defs, j.spec.Columns)
	for _, k := range key {
		if !slices.Contains(columns, k) {
			columns = append(columns, k) // a key that is not published, or is generated
		}
	}
	j.report.Method, j.report.Key = method, key
	if why != "" {
		j.report.Notes = append(j.report.Notes, why)
	}
	if len(odd) > 0 {
		j.report.Notes = append(j.report.Notes, "not on all nodes, so left out: column "+strings.Join(odd, ", "))
	}
	if len(j.spec.Filters) > 0 {
		j.report.Notes = append(j.report.Notes, "only the rows that are replicated: "+strings.Join(j.spec.Filters, " AND "))
	}
	if len(columns) == 0 {
		j.report.Problem = "the nodes share no column of it"
	}
	for _, d := range defs {
		rel := &relation{name: j.spec.Name, def: d, columns: columns, filter: strings.Join(j.spec.Filters, ") AND (")}
		if key != nil {
			rel.key = d.on(key)
		}
		j.rels = append(j.rels, rel)
	}
	return nil
}

// progress adds to what has been compared, and tells it.
func (r *run) progress(table string, rows, differing int64) {
	r.told.Lock()
	defer r.told.Unlock()
	r.now.Table = table
	r.now.Rows += rows
	r.now.Differing += differing
	r.now.Total = max(r.now.Total, r.now.Rows)
	r.opts.Progress(r.now)
}
