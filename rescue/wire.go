package rescue

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"healer/topology"
)

// The messages of pgoutput, protocol version 1. They are read here and not by
// pglogrepl, whose parser trusts the lengths it reads: it indexes and allocates
// by them, and copies each value byte by byte. What is read here stays a view
// of the message.

// datumKind says how a column's value travels.
type datumKind byte

const (
	datumNull datumKind = 'n'
	// datumUnchanged is a TOASTed value which the update did not change; it is
	// not sent.
	datumUnchanged datumKind = 'u'
	datumText      datumKind = 't'
)

// datum is one column's value. text is valid only as long as the message.
type datum struct {
	kind datumKind
	text []byte
}

// tuple is a row in the column order of its relation.
type tuple []datum

// identityFull is the replica identity of a table whose old rows are sent whole.
const identityFull = 'f'

// relation is a table as S described it in the stream.
type relation struct {
	id    uint32
	table topology.TableName
	// identity is pg_class.relreplident: d, n, f or i.
	identity byte
	columns  []relColumn
}

type relColumn struct {
	name string
	// key is true for the columns of the replica identity.
	key bool
}

// msgKind is the first byte of a message.
type msgKind byte

const (
	msgBegin    msgKind = 'B'
	msgOrigin   msgKind = 'O'
	msgCommit   msgKind = 'C'
	msgRelation msgKind = 'R'
	msgInsert   msgKind = 'I'
	msgUpdate   msgKind = 'U'
	msgDelete   msgKind = 'D'
	msgTruncate msgKind = 'T'
	// msgType and msgMessage say nothing about rows.
	msgType    msgKind = 'Y'
	msgMessage msgKind = 'M'
)

// message is one decoded message; which fields are set depends on its kind.
type message struct {
	kind msgKind
	// lsn is the commit record's LSN for begin, the end of the transaction for
	// commit, F's commit LSN for origin.
	lsn topology.LSN
	// time is the commit's time, in microseconds since 2000-01-01 UTC.
	time   int64
	origin string
	rel    *relation
	// relID is the table of a row change, relIDs those of a truncate.
	relID  uint32
	relIDs []uint32
	// restart is set when a truncate resets the sequences that columns own.
	restart bool
	// old is the key ('K') or the whole old row ('O') as oldKind says; nil
	// when the key did not change.
	old, new tuple
	oldKind  byte
	// raw are the message's bytes as a stream read them; nobody writes there again.
	raw []byte
}

// wire reads a message with bounds checks; the first failure sticks.
type wire struct {
	b   []byte
	err error
}

func (w *wire) fail(what string) {
	if w.err == nil {
		w.err = fmt.Errorf("message ends within %s", what)
		w.b = nil
	}
}

func (w *wire) take(n int, what string) []byte {
	if n < 0 || n > len(w.b) {
		w.fail(what)
		return nil
	}
	out := w.b[:n:n]
	w.b = w.b[n:]
	return out
}

func (w *wire) byte(what string) byte {
	if b := w.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (w *wire) uint16(what string) uint16 {
	if b := w.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (w *wire) uint32(what string) uint32 {
	if b := w.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (w *wire) uint64(what string) uint64 {
	if b := w.take(8, what); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (w *wire) string(what string) string { return string(w.cstring(what)) }

func (w *wire) cstring(what string) []byte {
	i := bytes.IndexByte(w.b, 0)
	if i < 0 {
		w.fail(what)
		return nil
	}
	s := w.b[:i]
	w.b = w.b[i+1:]
	return s
}

// tuple reads a row into buf, which it may grow.
func (w *wire) tuple(buf tuple) tuple {
	n := int(w.uint16("column count"))
	// Every column takes at least one byte: a count beyond that is a lie, and
	// must not decide an allocation.
	if n > len(w.b) {
		w.fail("row")
		return nil
	}
	out := buf[:0]
	for range n {
		d := datum{kind: datumKind(w.byte("column"))}
		switch d.kind {
		case datumNull, datumUnchanged:
		case datumText:
			d.text = w.take(int(w.uint32("value length")), "value")
		default:
			if w.err == nil {
				w.err = fmt.Errorf("column value of unknown kind %q", byte(d.kind))
			}
		}
		if w.err != nil {
			return nil
		}
		out = append(out, d)
	}
	return out
}

// decoder decodes messages and reuses its buffers: a message is valid until the
// next one is decoded.
type decoder struct {
	oldBuf, newBuf tuple
	// origin is the last one's name: most often the next one's as well.
	origin string
}

func (d *decoder) name(b []byte) string {
	if d.origin != string(b) {
		d.origin = string(b)
	}
	return d.origin
}

// decode reads one message. It never panics and never allocates more than a
// small multiple of the message's size, whatever the bytes.
func (d *decoder) decode(b []byte) (message, error) {
	if len(b) == 0 {
		return message{}, fmt.Errorf("pgoutput message is empty")
	}
	m := message{kind: msgKind(b[0])}
	w := &wire{b: b[1:]}
	switch m.kind {
	case msgBegin:
		m.lsn = topology.LSN(w.uint64("final LSN"))
		m.time = int64(w.uint64("commit time")) //nolint:gosec // two's complement is meant
		w.uint32("xid")
	case msgCommit:
		w.byte("flags")
		w.uint64("commit LSN")
		m.lsn = topology.LSN(w.uint64("end LSN"))
		m.time = int64(w.uint64("commit time")) //nolint:gosec // two's complement is meant
	case msgOrigin:
		m.lsn = topology.LSN(w.uint64("origin LSN"))
		m.origin = d.name(w.cstring("origin name"))
	case msgRelation:
		m.rel = w.relation()
	case msgInsert:
		m.relID = w.uint32("relation id")
		w.expectNew(w.byte("row marker"))
		m.new = w.tuple(d.newBuf)
	case msgUpdate:
		m.relID = w.uint32("relation id")
		mark := w.byte("row marker")
		if mark == 'K' || mark == 'O' {
			m.oldKind, m.old = mark, w.tuple(d.oldBuf)
			mark = w.byte("row marker")
		}
		w.expectNew(mark)
		m.new = w.tuple(d.newBuf)
	case msgDelete:
		m.relID = w.uint32("relation id")
		m.oldKind = w.byte("row marker")
		if w.err == nil && m.oldKind != 'K' && m.oldKind != 'O' {
			w.err = fmt.Errorf("row marker %q where K or O is due", m.oldKind)
		}
		m.old = w.tuple(d.oldBuf)
	case msgTruncate:
		m.relIDs, m.restart = w.truncated()
	case msgType, msgMessage:
		// Types are T's own, and what an application tells other consumers by
		// logical messages is no row: both are passed over knowingly.
	default:
		return message{}, fmt.Errorf("pgoutput message of unknown kind %q", b[0])
	}
	if w.err != nil {
		return message{}, fmt.Errorf("pgoutput message %q: %w", b[0], w.err)
	}
	if m.old != nil {
		d.oldBuf = m.old
	}
	if m.new != nil {
		d.newBuf = m.new
	}
	return m, nil
}

func (w *wire) expectNew(mark byte) {
	if w.err == nil && mark != 'N' {
		w.err = fmt.Errorf("row marker %q where N is due", mark)
	}
}

func (w *wire) relation() *relation {
	r := &relation{id: w.uint32("relation id")}
	r.table.Schema = w.string("schema")
	if r.table.Schema == "" {
		// pgoutput abbreviates pg_catalog so.
		r.table.Schema = "pg_catalog"
	}
	r.table.Name = w.string("table name")
	r.identity = w.byte("replica identity")
	for range int(w.uint16("column count")) {
		c := relColumn{key: w.byte("column flags")&1 != 0}
		c.name = w.string("column name")
		w.uint32("column type")
		w.uint32("column type modifier")
		if w.err != nil {
			return nil
		}
		r.columns = append(r.columns, c)
	}
	return r
}

// truncated reads the tables of a TRUNCATE. Those that CASCADE reached are among
// them, so that the option itself says nothing more.
func (w *wire) truncated() (ids []uint32, restart bool) {
	const restartSequences = 2
	n := int(w.uint32("relation count"))
	restart = w.byte("truncate options")&restartSequences != 0
	if n < 0 || n > len(w.b)/4 {
		w.fail("relation ids")
		return nil, false
	}
	ids = make([]uint32, n)
	for i := range ids {
		ids[i] = w.uint32("relation id")
	}
	return ids, restart
}
