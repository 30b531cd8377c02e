package rescue

import (
	"encoding/binary"
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
	// whole is set when no index identifies a row here or on S: its key is all
	// that the stream says of it, and T may have the row more than once.
	whole bool
	// columns has T's column for each of the stream's; generated ones are
	// among them and are left out of every statement.
	columns []column
	// statements by shape; see sql.go.
	statements map[string]*statement
	// shapes likewise, nil for what no program does; see program.go.
	shapes map[string]*shape
	// free is set when nothing but the key must be unique, so that changes of
	// different rows can be made in any order; see batch.go.
	free bool
	// copies is set when new rows may come by COPY.
	copies bool
	// touched has the table's keys in a set; see note.
	touched   *touchedTable
	touchedIn *Touched
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
	if !b.chooseKey() && !b.chooseRow() {
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

// chooseRow takes all columns for the key of a table that has none on S either, or
// whose old rows are sent in full.
func (b *binding) chooseRow() bool {
	keyed := slices.ContainsFunc(b.rel.columns, func(c relColumn) bool { return c.key })
	if len(b.tab.keys) > 0 || (keyed && b.rel.identity != identityFull) {
		return false
	}
	b.whole, b.updates = true, b.rel.identity == identityFull
	for i, c := range b.columns {
		if !c.generated {
			b.key = append(b.key, keyColumn{name: c.name, typ: c.typ, equals: c.equals})
			b.keyAt = append(b.keyAt, i)
		}
	}
	return true
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

// note tells what the touched keys of the table are.
func (b *binding) note(t *Touched) *touchedTable {
	if b.touched != nil && b.touchedIn == t {
		return b.touched
	}
	tab := t.table(b.rel.table, b.keyColumns())
	if tab.sent == nil {
		tab.whole = b.whole
		for _, c := range b.rel.columns {
			tab.sent = append(tab.sent, c.name)
		}
	}
	b.touched, b.touchedIn = tab, t
	return tab
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
	id, ok := b.appendKey(nil, row)
	if !ok {
		return nil, false
	}
	return decodeKey(string(id)), true
}

// appendKey appends the encoded key of a row; see Key.encode.
func (b *binding) appendKey(id []byte, row tuple) ([]byte, bool) {
	for _, at := range b.keyAt {
		if at >= len(row) {
			return id, false
		}
		switch text := row[at].text; {
		case b.whole && row[at].kind == datumNull:
			id = appendKeyValue(id, wholeNull)
		case row[at].kind != datumText:
			return id, false
		case b.whole:
			id = binary.AppendUvarint(id, uint64(len(wholeValue)+len(text)))
			id = append(append(id, wholeValue...), text...)
		default:
			id = appendKeyValue(id, text)
		}
	}
	return id, true
}

// key is that of the row which is changed, as it was before; nil when there is none.
func (c *change) key() Key {
	row := c.old
	switch {
	case c.kind == msgTruncate:
		return nil
	case c.kind == msgInsert || c.old == nil:
		row = c.new
	}
	key, _ := c.b.keyOf(row)
	return key
}

// A whole row as a key has NULLs, which are told from empty strings.
const (
	wholeNull  = ""
	wholeValue = "="
)

// movedTo is the key of an UPDATE's new row; what was not sent is as before.
func (b *binding) movedTo(c *change) (Key, bool) { return b.keyOf(b.after(c)) }

// after is a row as a change leaves it, as far as its key goes.
func (b *binding) after(c *change) tuple {
	if !b.whole || c.old == nil {
		return c.new
	}
	row := slices.Clone(c.new)
	for i := range row {
		if row[i].kind == datumUnchanged && i < len(c.old) {
			row[i] = c.old[i]
		}
	}
	return row
}

// isKey reports whether the stream's column i belongs to the key.
func (b *binding) isKey(i int) bool { return slices.Contains(b.keyAt, i) }
