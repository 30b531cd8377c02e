package engine

import (
	"context"
	"slices"
	"strings"

	"healer/topology"
)

// Replica is how a node receives a table from another.
type Replica struct {
	topology.TableName
	// Columns are those that are sent; nil means all that are stored.
	Columns []string
	// Filter is the condition that the rows sent fulfil, by unqualified columns;
	// empty means all rows.
	Filter string
}

// Replicas lists the tables that the node receives from the provider, and what of
// them: several publications of one table send all that any of them does.
func (e *Engine) Replicas(ctx context.Context, node, provider string) ([]Replica, error) {
	s, sub, err := e.reading(ctx, node, provider)
	if err != nil {
		return nil, err
	}
	names, err := e.tablesOf(ctx, s, sub.ID, false)
	if err != nil {
		return nil, err
	}
	lines, err := e.sends(ctx, provider, sub.Publications)
	if err != nil {
		return nil, err
	}
	var out []Replica
	for _, name := range names {
		if r, ok := lines.replica(name); ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// replica unites the lines of one table; false when it is not published any more.
func (p published) replica(name topology.TableName) (Replica, bool) {
	r := Replica{TableName: name}
	var filters []string
	for i, s := range p.table(name) {
		if i == 0 {
			r.Columns = s.Columns
		} else if len(s.Columns) != len(r.Columns) {
			r.Columns = nil // PostgreSQL refuses different lists
		}
		filters = append(filters, s.Filter)
	}
	if len(filters) == 0 {
		return r, false
	}
	if !slices.Contains(filters, "") {
		slices.Sort(filters)
		r.Filter = strings.Join(slices.Compact(filters), " OR ")
	}
	return r, true
}

// table keeps the lines of one table.
func (p published) table(name topology.TableName) published {
	return slices.DeleteFunc(slices.Clone(p), func(s shape) bool { return s.TableName != name })
}
