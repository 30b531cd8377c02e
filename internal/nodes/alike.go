package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"healer/postgres/engine"
	"healer/topology"
)

// alike refuses when the survivors do not all send the same of every table. The copy is
// of what the source's publications send, by their filters and column lists: rows that
// another survivor would have sent, and the source would not, are not in it, and come from
// nowhere else.
func (r *rebuild) alike(ctx context.Context) error {
	for _, p := range r.peers {
		if p == r.source {
			continue
		}
		theirs, err := r.Engine.Published(ctx, p, r.to[p].Publications)
		if err != nil {
			return err
		}
		if said := sentOtherwise(r.source, p, r.tables, theirs); len(said) > 0 {
			return &topology.Fault{
				Class: topology.Permanent, Code: "published_otherwise", Node: p,
				Hint: fmt.Sprintf("give publications %s of %s and %s the same tables, WHERE conditions and column lists (ALTER PUBLICATION ... SET TABLE), or fill these tables by hand and take them out of the publications meanwhile",
					strings.Join(r.to[p].Publications, ", "), r.source, p),
				Err: fmt.Errorf("a copy of %s does not have what %s would send to %s: %s", r.source, p, r.o.node, strings.Join(said, "; ")),
			}
		}
	}
	return nil
}

// sentOtherwise names the tables of which two nodes do not send the same.
func sentOtherwise(a, b string, of, other []engine.Replica) (said []string) {
	find := func(in []engine.Replica, t topology.TableName) (engine.Replica, bool) {
		i := slices.IndexFunc(in, func(r engine.Replica) bool { return r.TableName == t })
		if i < 0 {
			return engine.Replica{}, false
		}
		return in[i], true
	}
	for _, t := range of {
		o, ok := find(other, t.TableName)
		switch {
		case !ok:
			said = append(said, fmt.Sprintf("%s is published by %s alone", t.TableName, a))
		case t.Filter != o.Filter:
			said = append(said, fmt.Sprintf("%s: %s sends %s, %s sends %s", t.TableName, a, rowsOf(t), b, rowsOf(o)))
		case !slices.Equal(t.Columns, o.Columns):
			said = append(said, fmt.Sprintf("%s: %s sends %s, %s sends %s", t.TableName, a, columnsOf(t), b, columnsOf(o)))
		}
	}
	for _, o := range other {
		if _, ok := find(of, o.TableName); !ok {
			said = append(said, fmt.Sprintf("%s is published by %s alone", o.TableName, b))
		}
	}
	return said
}

func rowsOf(r engine.Replica) string {
	if r.Filter == "" {
		return "all rows"
	}
	return "rows WHERE " + r.Filter
}

func columnsOf(r engine.Replica) string {
	if r.Columns == nil {
		return "all columns"
	}
	return "columns " + strings.Join(r.Columns, ", ")
}
