package rescue

import (
	"fmt"
	"slices"

	"healer/topology"
)

// binding ties a table as S sends it to the table as T has it.
type binding struct {
	rel *relation
	tab *table
	// key is the index of T that identifies a row; keyAt has the position of
	// each of its columns in a tuple of the stream.
	key   []keyColumn
	keyAt []int
	// updates is set when old rows carry the key, so that UPDATE and DELETE
	// can find their row.
	updates bool
	// columns has T's column for each of the stream's; generated ones are
	// among them and are left out of every statement.
	columns []column
	// statements by shape; see sql.go.
	statements map[string]*statement
}

// bind finds T's counterpart of a relation, or says what is in the way.
func bind(node string, rel *relation, tab *table) (*binding, error) {
	stop := func(code, hint, format string, args ...any) error {
		return &topology.Fault{
			Class: topology.Permanent, Code: code, Node: node, Hint: hint,
			Err: fmt.Errorf("table %s: %w", rel.table, fmt.Errorf(format, args...)),
		}
	}
	if tab == nil {
		return nil, stop("table_missing", "create the table as it is on the other nodes, then run the recovery again",
			"is not here, but the gap has changes of it")
	}
	b := &binding{rel: rel, tab: tab, statements: map[string]*statement{}}
	for _, c := range rel.columns {
		col, ok := tab.column(c.name)
		if !ok {
			return nil, stop("column_missing", "add the column as it is on the other nodes, then run the recovery again",
				"has no column %q, but the gap has values for it", c.name)
		}
		b.columns = append(b.columns, col)
	}
	if !b.chooseKey() {
		return nil, stop("no_usable_key",
			"give the table a primary key (not deferrable) that is part of its replica identity on every node",
			"has no unique index by which a row of the gap can be found")
	}
	return b, nil
}

// chooseKey takes the first index whose columns are in the replica identity of
// the stream, so that old rows carry them; failing that, for inserts, one whose
// columns are sent at all.
func (b *binding) chooseKey() bool {
	for _, identity := range []bool{true, false} {
		for _, k := range b.tab.keys {
			if at := b.positions(k.columns, identity); at != nil {
				b.key, b.keyAt, b.updates = k.columns, at, identity
				return true
			}
		}
	}
	return false
}

func (b *binding) positions(key []keyColumn, identity bool) []int {
	at := make([]int, len(key))
	for i, k := range key {
		at[i] = slices.IndexFunc(b.rel.columns, func(c relColumn) bool {
			return c.name == k.name && (!identity || c.key)
		})
		if at[i] < 0 {
			return nil
		}
	}
	return at
}

// keyColumns names the key's columns.
func (b *binding) keyColumns() []string {
	names := make([]string, len(b.key))
	for i, k := range b.key {
		names[i] = k.name
	}
	return names
}

// keyOf takes the key out of a row of the stream; false when it is not there.
func (b *binding) keyOf(row tuple) (Key, bool) {
	key := make(Key, len(b.keyAt))
	for i, at := range b.keyAt {
		if at >= len(row) || row[at].kind != datumText {
			return nil, false
		}
		key[i] = string(row[at].text)
	}
	return key, true
}

// isKey reports whether the stream's column i belongs to the key.
func (b *binding) isKey(i int) bool { return slices.Contains(b.keyAt, i) }
