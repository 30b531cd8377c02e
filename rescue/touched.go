package rescue

import (
	"encoding/binary"
	"errors"
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
		b = appendKeyValue(b, v)
	}
	return string(b)
}

// appendKeyValue appends a value to the encoding of a key.
func appendKeyValue[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
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
	// wrote is the last write of the gap, zero when it has only deleted the row.
	wrote stamp
	// lost is the last write of the gap that a unique constraint has kept off some
	// laggard; nil when there is none.
	lost *defeat
	// perhaps is set when the key may have been spilled or may never have been
	// touched: only behind another record of it does this one count. before is
	// such a one, from before the key was touched again.
	perhaps bool
	before  *touch
}

// defeat is a write that had to yield to another row which has its unique value.
type defeat struct {
	// write is the one that lost, zero when the gap has written the row again; to is
	// the one it lost to.
	write, to stamp
}

// touchedTable has the touched keys of one table.
type touchedTable struct {
	// columns are the key columns, in the order of each Key.
	columns []string
	keys    map[string]*touch
	// spilled names the files with further keys, empty when there are none;
	// records is how many records they have.
	spilled string
	records int
	// log has the newest touches, logged of them; see touchlog.go.
	log    []byte
	logged int
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
	// spill is nil when everything stays in memory; err is its first failure.
	spill *spill
	err   error
	// sole are the lists of one holder, which all touches share.
	sole map[string][]string
	// slab has touches that are not used yet.
	slab []touch
}

// span is a closed range of commit timestamps.
type span struct{ first, last int64 }

func newTouched() *Touched { return newTouchedIn(Spill{}) }

func newTouchedIn(o Spill) *Touched {
	return &Touched{
		origins: map[string]span{}, tables: map[topology.TableName]*touchedTable{},
		spill: newSpill(o), sole: map[string][]string{},
	}
}

// Len is the number of keys. Once keys were spilled it is an upper bound: a key
// that was touched again after that counts again.
func (t *Touched) Len() int {
	t.settle()
	n := 0
	for _, tab := range t.tables {
		n += len(tab.keys) + tab.records
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
	t.settle()
	return t.addTo(t.table(name, columns), []byte(key.encode()), source)
}

// addTo is add with the table at hand, and the key encoded.
func (t *Touched) addTo(tab *touchedTable, id []byte, source string) *touch {
	e := tab.keys[string(id)]
	if e == nil {
		id := string(id)
		t.room(id)
		e = t.fresh()
		e.holders = t.soleHolder(source)
		tab.keys[id] = e
		return e
	}
	if e.perhaps {
		e = &touch{before: e}
		tab.keys[string(id)] = e
	}
	e.hold(source)
	return e
}

// fresh makes a touch: one by one they would cost more.
func (t *Touched) fresh() *touch {
	if len(t.slab) == 0 {
		t.slab = make([]touch, 64)
	}
	e := &t.slab[0]
	t.slab = t.slab[1:]
	return e
}

func (t *Touched) soleHolder(source string) []string {
	if source == "" {
		return nil
	}
	if t.sole[source] == nil {
		t.sole[source] = []string{source}
	}
	return t.sole[source]
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

// find returns the touch of a key, nil when the gap has not written it. When that
// cannot be told because keys were spilled, what is noted in it counts if it has.
func (t *Touched) find(name topology.TableName, key Key) *touch {
	tab := t.tables[name]
	if tab == nil {
		return nil
	}
	t.settle()
	id := key.encode()
	e := tab.keys[id]
	if e == nil && tab.spilled != "" {
		t.room(id)
		e = &touch{perhaps: true}
		tab.keys[id] = e
	}
	return e
}

// written forgets a deletion that a later write of the gap has undone, and a defeat.
func (e *touch) written(by stamp) {
	if e.lost != nil {
		e.lost = &defeat{to: e.lost.to}
	}
	if e.tomb != nil && !e.tomb.after(by) {
		e.tomb = nil
	}
	if by.after(e.wrote) || e.wrote == (stamp{}) {
		e.wrote = by
	}
}

// yielded notes that a write was kept off by another row. If it was to remove the
// row, it has not.
func (e *touch) yielded(d defeat) {
	e.lost = &d
	if e.tomb != nil && *e.tomb == d.write {
		e.tomb = nil
	}
}

// beaten reports whether it is this write that was kept off.
func (e *touch) beaten(write stamp) bool { return e.lost != nil && e.lost.write == write }

// deleted notes a deletion; the latest counts.
func (e *touch) deleted(by stamp) {
	if e.tomb == nil || by.after(*e.tomb) {
		e.tomb = &by
	}
}

// merge unites what several replays have touched.
func merge(all []*Touched) (*Touched, error) {
	all = slices.DeleteFunc(slices.Clone(all), func(t *Touched) bool { return t == nil })
	if len(all) == 1 {
		return all[0], nil
	}
	out := newTouched()
	for _, t := range all {
		if t.spill != nil {
			out = newTouchedIn(Spill{Dir: t.spill.base, Bytes: t.spill.limit})
			break
		}
	}
	for _, t := range all {
		for origin, s := range t.origins {
			out.committed(origin, s.first)
			out.committed(origin, s.last)
		}
		for name, tab := range t.tables {
			if err := out.mergeTable(name, t, tab); err != nil {
				return nil, errors.Join(err, out.Close())
			}
		}
	}
	return out, nil
}

func (t *Touched) mergeTable(name topology.TableName, of *Touched, from *touchedTable) error {
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
	err := of.each(from, func(id string, e *touch) error {
		into := t.add(name, columns, reorder(decodeKey(id), order), "")
		// The deletions that one source has shown are not undone by what another
		// has: all of them count.
		into.follow(&touch{inserted: e.inserted, holders: e.holders, tomb: e.tomb, lost: e.lost})
		return t.err
	})
	if err != nil {
		return fmt.Errorf("touched keys of %s: %w", name, err)
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
