package rescue

import "encoding/binary"

// What a replay touches it mostly touches once, and nobody asks for it before the
// comparison. So it is noted in a log, in the form of the spilled files, and goes
// from there into the files; or into the map of its table, when there is little of
// it or somebody asks for a key.

// logPart is the part of the memory that a log may take: a key takes several times
// as much in a map.
const logPart = 4

// touch remembers the rows a change of the gap has written.
func (r *replay) touch(c *change, id []byte) {
	by := stamp{at: r.tx.time, author: r.gap.Origin}
	tab := c.b.note(r.touched)
	note := func(id []byte, deleted bool) {
		r.touched.note(tab, id, r.gap.Source, c.kind == msgInsert, deleted, by)
	}
	if !c.moved {
		note(id, c.kind == msgDelete)
		return
	}
	note(id, true)
	if moved, ok := c.b.movedTo(c); ok {
		note([]byte(moved.encode()), false)
		return
	}
	note(id, false)
}

// note notes what a change of the gap did to a row: that it was inserted, and that
// it was written or deleted then.
func (t *Touched) note(tab *touchedTable, id []byte, source string, inserted, deleted bool, by stamp) {
	s := t.spill
	if s == nil || t.err != nil {
		t.noteIn(tab, id, source, inserted, deleted, by)
		return
	}
	flags := byte(flagWrote)
	if deleted {
		flags = flagTomb
	}
	if inserted {
		flags |= flagInserted
	}
	before := len(tab.log)
	b := binary.AppendUvarint(append(tab.log, flags), uint64(len(id)))
	b = append(b, id...)
	b = binary.AppendUvarint(append(b, 1), s.number(source))
	tab.log = s.stamp(b, by)
	tab.logged++
	if s.logged += len(tab.log) - before; s.logged > s.limit/logPart {
		t.err = t.flush()
	}
}

// noteIn notes it in the map.
func (t *Touched) noteIn(tab *touchedTable, id []byte, source string, inserted, deleted bool, by stamp) {
	e := t.addTo(tab, id, source)
	e.inserted = e.inserted || inserted
	if deleted {
		e.deleted(by)
	} else {
		e.written(by)
	}
}

// settle empties the logs, so that the maps and the files have all keys.
func (t *Touched) settle() {
	if t.spill == nil || t.spill.logged == 0 || t.err != nil {
		return
	}
	records := 0
	for _, tab := range t.tables {
		records += tab.logged
	}
	if t.spill.used+t.spill.logged+records*touchBytes > t.spill.limit {
		t.err = t.flush()
		return
	}
	for _, tab := range t.tables {
		log := tab.log
		tab.log, tab.logged = nil, 0
		if t.err = t.replayLog(tab, log); t.err != nil {
			return
		}
	}
	t.spill.logged = 0
}

// replayLog does to the map of a table what its log says.
func (t *Touched) replayLog(tab *touchedTable, log []byte) error {
	return eachLogged(log, func(l logged) error {
		source, err := t.spill.name(l.source)
		if err != nil {
			return err
		}
		author, err := t.spill.name(l.author)
		if err != nil {
			return err
		}
		t.noteIn(tab, l.id, source, l.flags&flagInserted != 0, l.flags&flagTomb != 0, stamp{at: l.at, author: author})
		return t.err
	})
}

// logged is a record of a log.
type logged struct {
	record, id     []byte
	flags          byte
	source, author uint64
	at             int64
}

// eachLogged yields the records of a log.
func eachLogged(log []byte, yield func(logged) error) error {
	for b := log; len(b) > 0; {
		l := logged{record: b, flags: b[0]}
		number := func() uint64 {
			n, w := binary.Uvarint(b)
			b = b[w:]
			return n
		}
		b = b[1:]
		n := number()
		l.id, b = b[:n], b[n:]
		number() // one holder
		l.source = number()
		at, w := binary.Varint(b)
		b = b[w:]
		l.at, l.author = at, number()
		l.record = l.record[:len(l.record)-len(b)]
		if err := yield(l); err != nil {
			return err
		}
	}
	return nil
}
