package compare

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"healer/internal/localpg"
)

// Node is a server to be compared.
type Node struct {
	Name string
	On   localpg.Connector
}

// Result is what a comparison found.
type Result struct {
	// Tables and Rows are how many were compared; a row that is on all nodes
	// counts once.
	Tables int
	Rows   int64
	// Differences are the first of them, in order, at most maxDifferences of
	// each table; Differing counts all.
	Differences []Difference
	Differing   int64
}

// Equal reports that every row of every table is the same everywhere.
func (r Result) Equal() bool { return r.Differing == 0 }

// Difference is a row that is not the same on all nodes.
type Difference struct {
	Table string
	Key   string
	// Rows has the row's text by node; a node that lacks the row is absent.
	Rows map[string]string
}

// String shows the row on each node.
func (d Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s:", d.Table, d.Key)
	names := make([]string, 0, len(d.Rows))
	for n := range d.Rows {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(&b, " %s=%s", n, d.Rows[n])
	}
	return b.String()
}

const maxDifferences = 10

// table is a user's table with its key columns, all quoted.
type table struct {
	name string
	keys string
}

// row is a row's key and the whole of it, as the server writes them.
type row struct{ key, text string }

// Tables compares all tables outside the system's schemas, whatever is
// replicated. A table without a primary key is ordered by the whole row. It is
// an error when the nodes do not have the same tables.
func Tables(ctx context.Context, nodes []Node) (Result, error) {
	var res Result
	if len(nodes) == 0 {
		return res, nil
	}
	tables, err := list(ctx, nodes[0])
	if err != nil {
		return res, err
	}
	for _, n := range nodes[1:] {
		other, err := list(ctx, n)
		if err != nil {
			return res, err
		}
		if !slices.Equal(tables, other) {
			return res, fmt.Errorf("%s and %s have different tables: %v and %v", nodes[0].Name, n.Name, tables, other)
		}
	}
	for _, t := range tables {
		if err := compareTable(ctx, nodes, t, &res); err != nil {
			return res, fmt.Errorf("compare %s: %w", t.name, err)
		}
		res.Tables++
	}
	return res, nil
}

func list(ctx context.Context, n Node) ([]table, error) {
	const sql = `
		select format('%I.%I', s.nspname, c.relname) || '|' || coalesce((
			select string_agg(format('t.%I', a.attname), ', ' order by k.n)
			from pg_index i, unnest(i.indkey::int2[]) with ordinality k(att, n)
			join pg_attribute a on a.attnum = k.att
			where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid), '')
		from pg_class c join pg_namespace s on s.oid = c.relnamespace
		where c.relkind = 'r' and s.nspname not in ('pg_catalog', 'information_schema')
		order by 1`
	lines, err := localpg.Column[string](ctx, n.On, sql)
	if err != nil {
		return nil, fmt.Errorf("tables of %s: %w", n.Name, err)
	}
	tables := make([]table, len(lines))
	for i, l := range lines {
		tables[i].name, tables[i].keys, _ = strings.Cut(l, "|")
	}
	return tables, nil
}

// compareTable walks all nodes' rows in step as long as they are equal. From the
// first difference on it gathers the rest by key: servers order alike, but Go
// does not know how.
func compareTable(ctx context.Context, nodes []Node, t table, res *Result) error {
	ctx, cancel := context.WithCancel(ctx)
	streams := make([]*stream, len(nodes))
	var readers sync.WaitGroup
	for i, n := range nodes {
		streams[i] = &stream{rows: make(chan row, 256)}
		readers.Go(func() { streams[i].read(ctx, n, t) })
	}
	// In this order: the readers end when they are not listened to any more.
	defer readers.Wait()
	defer cancel()
	for {
		heads, err := next(streams)
		if err != nil || heads == nil {
			return err
		}
		if same(heads) {
			res.Rows++
			continue
		}
		return gather(nodes, t, heads, streams, res)
	}
}

// stream is one node's rows of a table; err is to be read once rows is closed.
type stream struct {
	rows chan row
	err  error
}

func (s *stream) read(ctx context.Context, n Node, t table) {
	defer close(s.rows)
	if err := s.query(ctx, n, t); err != nil && ctx.Err() == nil {
		s.err = fmt.Errorf("%s: %w", n.Name, err)
	} else {
		s.err = err
	}
}

func (s *stream) query(ctx context.Context, n Node, t table) error {
	conn, err := n.On.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	key, order := "row("+t.keys+")::text", t.keys
	if t.keys == "" {
		key, order = "t::text", "t::text"
	}
	// The names come from format('%I'), which quotes.
	rows, err := conn.Query(ctx, "select "+key+", t::text from "+t.name+" t order by "+order)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.key, &r.text); err != nil {
			return err
		}
		select {
		case s.rows <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return rows.Err()
}

// next takes one row of each stream; a stream at its end gives nil. It returns
// no heads at all when every stream is at its end.
func next(streams []*stream) ([]*row, error) {
	heads := make([]*row, len(streams))
	some := false
	for i, s := range streams {
		if r, ok := <-s.rows; ok {
			heads[i], some = &r, true
		} else if s.err != nil {
			return nil, s.err
		}
	}
	if !some {
		return nil, nil
	}
	return heads, nil
}

func same(heads []*row) bool {
	for _, h := range heads {
		if h == nil || heads[0] == nil || *h != *heads[0] {
			return false
		}
	}
	return true
}

// gather reads what is left of the streams and finds the differences by key.
func gather(nodes []Node, t table, heads []*row, streams []*stream, res *Result) error {
	var order []string
	byKey := map[string]map[string][]string{} // key, node, rows
	for heads != nil {
		for i, h := range heads {
			if h == nil {
				continue
			}
			if byKey[h.key] == nil {
				byKey[h.key] = map[string][]string{}
				order = append(order, h.key)
			}
			at := byKey[h.key]
			at[nodes[i].Name] = append(at[nodes[i].Name], h.text)
		}
		var err error
		if heads, err = next(streams); err != nil {
			return err
		}
	}
	shown := 0
	for _, key := range order {
		if d, equal := difference(nodes, t, key, byKey[key]); equal {
			res.Rows++
		} else {
			res.Differing++
			if shown++; shown <= maxDifferences {
				res.Differences = append(res.Differences, d)
			}
		}
	}
	return nil
}

func difference(nodes []Node, t table, key string, rows map[string][]string) (Difference, bool) {
	first, equal := rows[nodes[0].Name], true
	d := Difference{Table: t.name, Key: key, Rows: map[string]string{}}
	for _, n := range nodes {
		equal = equal && slices.Equal(rows[n.Name], first)
		if len(rows[n.Name]) > 0 {
			d.Rows[n.Name] = strings.Join(rows[n.Name], " and ")
		}
	}
	return d, equal
}
