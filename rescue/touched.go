package rescue

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"healer/topology"
)

// Key is a row's key: the text of its values in the order of the key columns.
type Key []string

// encode makes a key comparable; different keys have different encodings.
func (k Key) encode() string {
	n := 0
	for _, v := range k {
		n += len(v) + binary.MaxVarintLen32
	}
	b := make([]byte, 0, n)
	for _, v := range k {
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return string(b)
}

// decodeKey undoes encode.
func decodeKey(s string) Key {
	var k Key
	for b := []byte(s); len(b) > 0; {
		n, w := binary.Uvarint(b)
		b = b[w:]
		k = append(k, string(b[:n]))
		b = b[n:]
	}
	return k
}

// stamp orders the writes of a row: by commit timestamp, then by author.
type stamp struct {
	// at is in microseconds since 2000-01-01 UTC; unknown is before all.
	at     int64
	author string
}

// after is the order of last update wins.
func (s stamp) after(o stamp) bool {
	if s.at != o.at {
		return s.at > o.at
	}
	return s.author > o.author
}

// touch is what is known of one key of the gap.
type touch struct {
	// inserted is set when the gap inserted the row: then every survivor has
	// had it, and a survivor without it has deleted it.
	inserted bool
	// holders are the sources in whose WAL the change was: they have had the row.
	holders []string
	// tomb is the last DELETE known of the row; nil when none is.
	tomb *stamp
}

// touchedTable has the touched keys of one table.
type touchedTable struct {
	// columns are the key columns, in the order of each Key.
	columns []string
	keys    map[string]*touch
	// sent are the columns that the source sends; others are each node's own.
	sent []string
	// whole keys are all columns of the row, of a table without a key; see
	// binding.whole.
	whole bool
	// wiped is the last TRUNCATE known: rows that are not newer and lacking
	// somewhere were removed by it. sweep is set when the gap truncated the
	// table, so that every row of it is touched.
	wiped *stamp
	sweep bool
}

// Touched is the set of the rows which gaps have written, and of the deletions of
// those rows which the sources' WAL has shown. It is not safe for concurrent use.
type Touched struct {
	// origins are the lost nodes whose gaps it covers, each with the commit
	// timestamps of the first and the last transaction.
	origins map[string]span
	tables  map[topology.TableName]*touchedTable
}

// span is a closed range of commit timestamps.
type span struct{ first, last int64 }

func newTouched() *Touched {
	return &Touched{origins: map[string]span{}, tables: map[topology.TableName]*touchedTable{}}
}

// Len is the number of keys.
func (t *Touched) Len() int {
	n := 0
	for _, tab := range t.tables {
		n += len(tab.keys)
	}
	return n
}

// committed notes a transaction of a gap.
func (t *Touched) committed(origin string, at int64) {
	s, ok := t.origins[origin]
	if !ok {
		s = span{first: at, last: at}
	}
	t.origins[origin] = span{first: min(s.first, at), last: max(s.last, at)}
}

// add notes that the gap wrote a row, at the given time, and returns its touch.
func (t *Touched) add(name topology.TableName, columns []string, key Key, source string) *touch {
	tab := t.table(name, columns)
	id := key.encode()
	e := tab.keys[id]
	if e == nil {
		e = &touch{}
		tab.keys[id] = e
	}
	if source != "" && !slices.Contains(e.holders, source) {
		e.holders = append(e.holders, source)
	}
	return e
}

// table returns a table's entry, which it makes where there is none.
func (t *Touched) table(name topology.TableName, columns []string) *touchedTable {
	tab := t.tables[name]
	if tab == nil {
		tab = &touchedTable{columns: columns, keys: map[string]*touch{}}
		t.tables[name] = tab
	}
	return tab
}

// truncated notes a TRUNCATE of a table; the latest counts.
func (t *touchedTable) truncated(by stamp) {
	if t.wiped == nil || by.after(*t.wiped) {
		t.wiped = &by
	}
}

// find returns the touch of a key, nil when the gap has not written it.
func (t *Touched) find(name topology.TableName, key Key) *touch {
	if tab := t.tables[name]; tab != nil {
		return tab.keys[key.encode()]
	}
	return nil
}

// written forgets a deletion that a later write of the gap has undone.
func (e *touch) written(by stamp) {
	if e.tomb != nil && !e.tomb.after(by) {
		e.tomb = nil
	}
}

// deleted notes a deletion; the latest counts.
func (e *touch) deleted(by stamp) {
	if e.tomb == nil || by.after(*e.tomb) {
		e.tomb = &by
	}
}

// merge unites what several replays have touched.
func merge(all []*Touched) (*Touched, error) {
	out := newTouched()
	for _, t := range all {
		if t == nil {
			continue
		}
		for origin, s := range t.origins {
			out.committed(origin, s.first)
			out.committed(origin, s.last)
		}
		for name, tab := range t.tables {
			if err := out.mergeTable(name, tab); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (t *Touched) mergeTable(name topology.TableName, from *touchedTable) error {
	order := make([]int, len(from.columns))
	for i := range order {
		order[i] = i
	}
	if have := t.tables[name]; have != nil {
		if order = permutation(have.columns, from.columns); order == nil {
			return &topology.Fault{
				Class: topology.Permanent, Code: "key_differs",
				Err: fmt.Errorf("table %s has the key %q on one survivor and %q on another",
					name, have.columns, from.columns),
				Hint: "give the table the same primary key on every node",
			}
		}
	}
	columns := from.columns
	if have := t.tables[name]; have != nil {
		columns = have.columns
	}
	into := t.table(name, columns)
	into.whole, into.sweep = into.whole || from.whole, into.sweep || from.sweep
	if into.sent == nil {
		into.sent = from.sent
	}
	if from.wiped != nil {
		into.truncated(*from.wiped)
	}
	for id, e := range from.keys {
		key := reorder(decodeKey(id), order)
		into := t.add(name, columns, key, "")
		into.inserted = into.inserted || e.inserted
		for _, h := range e.holders {
			if !slices.Contains(into.holders, h) {
				into.holders = append(into.holders, h)
			}
		}
		if e.tomb != nil {
			into.deleted(*e.tomb)
		}
	}
	return nil
}

// permutation returns for each of want the index in have, nil when the two are
// not the same set.
func permutation(want, have []string) []int {
	if len(want) != len(have) {
		return nil
	}
	order := make([]int, len(want))
	for i, w := range want {
		if order[i] = slices.Index(have, w); order[i] < 0 {
			return nil
		}
	}
	return order
}

func reorder(k Key, order []int) Key {
	out := make(Key, len(order))
	for i, j := range order {
		out[i] = k[j]
	}
	return out
}

// names returns the touched tables in order.
func (t *Touched) names() []topology.TableName {
	return slices.SortedFunc(maps.Keys(t.tables), func(a, b topology.TableName) int {
		switch {
		case a == b:
			return 0
		case a.String() < b.String():
			return -1
		default:
			return 1
		}
	})
}
