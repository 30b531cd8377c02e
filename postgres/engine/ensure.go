package engine

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"healer/postgres"
	"healer/topology"
)

// EnsurePublication gives the node the publications that decoding its WAL for
// any peer needs, and returns whether it changed one: WAL from before a change
// is decoded as it was before.
//
// Where the node's publications which its peers subscribe to publish every
// table just as its authors do, nothing is made. Otherwise `healer` has exactly
// the replicated tables, with their authors' row filters and column lists, and
// `healer_inserts` those which have no replica identity here. While a peer or
// an author cannot be read, nothing is taken away. Tables that authors publish
// differently, so that one publication cannot serve for both, are a fault
// ("publications_differ").
func (e *Engine) EnsurePublication(ctx context.Context, node string) (changed bool, err error) {
	s, err := e.server(node)
	if err != nil {
		return false, err
	}
	t, err := e.tongue(ctx, s)
	if err != nil || t.plugged() != nil {
		return false, err // its sets are what the log is decoded with
	}
	want, complete, err := e.wanted(ctx, node)
	if err != nil {
		return false, err
	}
	err = s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		if _, err := postgres.LockMarks(ctx, tx, "healer:publication:"+s.Database()); err != nil {
			return err
		}
		have, err := readOwn(ctx, tx)
		if err != nil {
			return err
		}
		if len(have) == 0 && want.served {
			return nil
		}
		lists, err := want.lists(ctx, tx, have, complete)
		if err != nil {
			return err
		}
		for _, name := range []string{pubAll, pubInserts} {
			did, err := setPublication(ctx, tx, name, have.of(name), lists[name])
			if changed = changed || did; err != nil {
				return err
			}
		}
		return nil
	})
	return changed && err == nil, err
}

// wishes are the tables of a node that peers receive from other authors.
type wishes struct {
	tables map[topology.TableName]shape
	// served is true when the node's publications of the mesh do for all.
	served bool
}

// wanted collects, from every peer, how it receives the tables of its other
// providers. complete is false when somebody could not be read.
func (e *Engine) wanted(ctx context.Context, node string) (w wishes, complete bool, err error) {
	w = wishes{tables: make(map[topology.TableName]shape), served: true}
	complete = true
	for _, peer := range e.names {
		if peer == node {
			continue
		}
		for _, author := range e.names {
			if author == node || author == peer {
				continue
			}
			err := e.wish(ctx, &w, node, peer, author)
			var fault *topology.Fault
			if errors.As(err, &fault) && fault.Code == "publications_differ" {
				return w, false, err
			}
			if ctx.Err() != nil {
				return w, false, err
			}
			if err != nil {
				e.log.Debug("how a table is published is not known now", "node", node, "peer", peer, "author", author, "error", err)
				complete = false
			}
		}
	}
	return w, complete, nil
}

// wish adds what peer receives from author.
func (e *Engine) wish(ctx context.Context, w *wishes, node, peer, author string) error {
	p, from, err := e.reading(ctx, peer, author)
	if err != nil {
		return err
	}
	need, err := e.receives(ctx, p, from, node, author)
	if err != nil {
		return err
	}
	_, d, err := e.at(ctx, node)
	if err != nil {
		return err
	}
	_, via, err := e.reading(ctx, peer, node)
	if err != nil {
		return err
	}
	theirs, err := e.sends(ctx, author, from.Publications)
	if err != nil {
		return err
	}
	ours, err := e.sends(ctx, node, via.Publications)
	if err != nil {
		return err
	}
	if !d.Decodable() {
		for _, line := range theirs {
			if !slices.Contains(need, line.TableName) {
				need = append(need, line.TableName) // no subscriber lists what it receives
			}
		}
		if q := d.Queue(); q.Name != "" {
			w.tables[q] = shape{TableName: q, Insert: true}
		}
	}
	for _, t := range need {
		shape, ok := merge(theirs, t)
		if !ok {
			continue // not published any more: nothing to decode
		}
		if !d.Decodable() {
			// No publication can say what a set's filter can: the replay asks the set's.
			shape.Sifted, shape.Filter = shape.Filter, ""
		}
		if old, twice := w.tables[t]; twice && !old.sameRows(shape) {
			return &topology.Fault{
				Class: topology.Permanent, Code: "publications_differ", Node: node,
				Hint: "publish the table with the same row filter and columns on every node",
				Err:  errors.New("table " + t.String() + " is published in different ways by its authors or for its subscribers"),
			}
		}
		w.tables[t] = shape
		here, ok := merge(ours, t)
		if !ok || !d.Decodable() || !whole(here) || !whole(shape) || here.Truncate != shape.Truncate {
			w.served = false
		}
	}
	return nil
}

// sameRows reports that both publish the same of each row.
func (s shape) sameRows(o shape) bool {
	return s.Filter == o.Filter && s.Sifted == o.Sifted && slices.Equal(s.Columns, o.Columns)
}

// merge is how a subscriber to several publications receives one table: a row
// that passes the filter of any.
func merge(p published, t topology.TableName) (shape, bool) {
	var all shape
	found := false
	for _, s := range p {
		if s.TableName != t {
			continue
		}
		if !found {
			all, found = s, true
			continue
		}
		switch {
		case all.Filter == "" || s.Filter == "":
			all.Filter = ""
		case all.Filter != s.Filter:
			all.Filter = "(" + all.Filter + ") OR (" + s.Filter + ")"
		}
		all.Insert, all.Update = all.Insert || s.Insert, all.Update || s.Update
		all.Delete, all.Truncate = all.Delete || s.Delete, all.Truncate || s.Truncate
	}
	return all, found
}

// lists says which table goes into which publication. A filter or a column
// list must not reach beyond the replica identity, or updates would fail here:
// the author's identity is the proof that it does not.
func (w wishes) lists(ctx context.Context, tx postgres.Tx, have published, complete bool) (map[string][]shape, error) {
	here, err := readIdentities(ctx, tx, slices.Collect(maps.Keys(w.tables)))
	if err != nil {
		return nil, err
	}
	lists := make(map[string][]shape)
	for t, s := range w.tables {
		identity, exists := here[t]
		if !exists {
			continue
		}
		name := pubAll
		plain := s.Filter == "" && len(s.Columns) == 0
		if identity == "" || (!plain && identity != s.Identity) || (!s.Update && !s.Delete) {
			name = pubInserts
		}
		lists[name] = append(lists[name], s)
	}
	if !complete {
		for _, s := range have {
			if _, known := w.tables[s.TableName]; !known {
				lists[s.Publication] = append(lists[s.Publication], s)
			}
		}
	}
	for _, list := range lists {
		slices.SortFunc(list, func(a, b shape) int {
			return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
		})
	}
	return lists, nil
}

// setPublication makes the publication list just these tables, in one change.
func setPublication(ctx context.Context, tx postgres.Tx, name string, have published, want []shape) (bool, error) {
	same := slices.EqualFunc(have, want, func(a, b shape) bool {
		return a.TableName == b.TableName && a.Filter == b.Filter && slices.Equal(a.Columns, b.Columns)
	})
	switch {
	case same:
		return false, nil
	case len(want) == 0:
		_, err := tx.Exec(ctx, "DROP PUBLICATION "+name)
		return err == nil, err
	}
	parts := make([]string, len(want))
	for i, s := range want {
		parts[i] = s.sql()
	}
	sql := "ALTER PUBLICATION " + name + " SET TABLE " + strings.Join(parts, ", ")
	if len(have) == 0 {
		publish := "insert, update, delete, truncate"
		if name == pubInserts {
			publish = "insert, truncate"
		}
		sql = "DROP PUBLICATION IF EXISTS " + name + "; CREATE PUBLICATION " + name + " FOR TABLE " + strings.Join(parts, ", ") +
			" WITH (publish = '" + publish + "', publish_via_partition_root = true)"
	}
	_, err := tx.Exec(ctx, sql, postgres.Simple)
	return err == nil, err
}

// sql is the table as CREATE PUBLICATION names it. ONLY, because the
// children of a table by inheritance are tables of the mesh themselves.
func (s shape) sql() string {
	var b strings.Builder
	b.WriteString("ONLY " + postgres.Ident(s.Schema) + "." + postgres.Ident(s.Name))
	if len(s.Columns) > 0 {
		quoted := make([]string, len(s.Columns))
		for i, c := range s.Columns {
			quoted[i] = postgres.Ident(c)
		}
		b.WriteString(" (" + strings.Join(quoted, ", ") + ")")
	}
	if s.Filter != "" {
		b.WriteString(" WHERE (" + s.Filter + ")")
	}
	return b.String()
}
