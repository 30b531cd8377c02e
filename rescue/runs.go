package rescue

import "hash/maphash"

// run is like changes of one transaction that are one statement.
type run struct {
	shape  *shape
	count  int
	values []byte
	// ends is where each value of the first change ends.
	ends []int
}

// runs are those of a transaction, or of a part of it. Changes of different rows
// can be made in any order: a change joins an earlier run of its shape, unless its
// row has been changed since. Where a table has more that must be unique than its
// key, the order is kept.
type runs struct {
	runs []run
	// bytes is the size of their values.
	bytes int
	rows  rowSet
	seed  maphash.Seed
	// closed runs can have no further changes.
	closed int
}

// keptRows is how many rows of a run of inserts are remembered, which is for what
// follows in a short transaction.
const (
	keptRows = 64
	// lookBack is how many runs back a change looks for its like.
	lookBack = 16
)

func (t *runs) reset() {
	t.runs, t.bytes, t.closed = t.runs[:0], 0, 0
	t.rows.reset()
}

func (t *runs) add(c *change, s *shape) {
	r := &t.runs[t.find(c, s)]
	before := len(r.values)
	for _, p := range s.params {
		row := c.new
		if p.old {
			row = c.old
		}
		if len(r.values) > 0 {
			r.values = append(r.values, ',')
		}
		r.values = appendElement(r.values, row[p.at])
		if r.count == 0 {
			r.ends = append(r.ends, len(r.values))
		}
	}
	r.count++
	t.bytes += len(r.values) - before
}

// find returns the index of the run for a change.
func (t *runs) find(c *change, s *shape) int {
	last := len(t.runs) - 1
	if last == 0 && s.kind == msgInsert && t.runs[0].shape == s && t.runs[0].count >= keptRows {
		t.closed = 1
		return 0
	}
	row := c.rowHash(t.seed)
	first := max(t.rows.get(row)+1, t.closed, last-lookBack)
	if !s.b.free {
		first = max(first, last)
	}
	at := last
	for at >= first && t.runs[at].shape != s {
		at--
	}
	if at < first || at < 0 {
		at = t.begin(s)
	}
	t.rows.put(row, at)
	return at
}

// begin adds a run.
func (t *runs) begin(s *shape) int {
	n := len(t.runs)
	if n < cap(t.runs) {
		t.runs = t.runs[:n+1] // with the buffer of an earlier one
		t.runs[n] = run{shape: s, values: t.runs[n].values[:0], ends: t.runs[n].ends[:0]}
	} else {
		t.runs = append(t.runs, run{shape: s})
	}
	return n
}

// rowHash tells rows apart, as far as a hash can: two rows with one hash are taken
// for one.
func (c *change) rowHash(seed maphash.Seed) uint64 {
	row := c.new
	if c.kind == msgDelete {
		row = c.old
	}
	h := uint64(c.b.rel.id)
	for _, at := range c.b.keyAt {
		h = bits64(h) ^ maphash.Bytes(seed, row[at].text)
	}
	return h
}

// bits64 mixes, so that the order of a key's columns counts.
func bits64(h uint64) uint64 {
	h = (h ^ h>>31) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// rowSet has the last run that changed each row, by the row's hash.
type rowSet struct {
	slots []rowSlot
	used  int
	// round is that of the slots in use: the others are free.
	round uint32
}

type rowSlot struct {
	row   uint64
	round uint32
	run   int32
}

func (s *rowSet) reset() {
	s.used = 0
	if s.round++; s.round == 0 || s.slots == nil || len(s.slots) > 1<<18 {
		s.slots, s.round = make([]rowSlot, 64), 1
	}
}

// slot finds the one of a row, or a free one.
func (s *rowSet) slot(row uint64) *rowSlot {
	mask := uint64(len(s.slots) - 1) //nolint:gosec // there are some
	for i := bits64(row) & mask; ; i = (i + 1) & mask {
		if e := &s.slots[i]; e.round != s.round || e.row == row {
			return e
		}
	}
}

// get returns the run, -1 when no run has changed the row.
func (s *rowSet) get(row uint64) int {
	if s.slots == nil {
		s.reset()
	}
	if e := s.slot(row); e.round == s.round {
		return int(e.run)
	}
	return -1
}

func (s *rowSet) put(row uint64, run int) {
	e := s.slot(row)
	if e.round != s.round {
		s.used++
	}
	*e = rowSlot{row: row, round: s.round, run: int32(run)} //nolint:gosec // a batch is bounded
	if 2*s.used < len(s.slots) {
		return
	}
	old := s.slots
	s.slots = make([]rowSlot, 2*len(old))
	for _, e := range old {
		if e.round == s.round {
			*s.slot(e.row) = e
		}
	}
}
