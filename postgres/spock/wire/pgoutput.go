package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"healer/topology"
)

// Origins tells whose the transactions of a node's log are, by the ids in it.
type Origins struct {
	// Self is the node's own id, under which Spock sends what was committed there.
	Self uint16
	// Names has the name of the node's replication origin for each id that stands for
	// one: the id of the provider's node, which Spock's apply worker writes, and the
	// roident, which everybody else writes who uses the origin.
	Names map[uint16]string
}

// name is what the id is called in pgoutput.
func (o Origins) name(id uint16) string {
	if name, ok := o.Names[id]; ok {
		return name
	}
	return topology.WriterName(uint32(id))
}

// Translator says what a stream of spock_output says in messages of pgoutput,
// protocol 1. Its methods serve one stream and one goroutine.
//
// What pgoutput does not have is left out knowingly: the startup message, the order
// of commits, logical messages, the origin of the node's own transactions, and
// transactions without a change that is sent. Of those Spock has many, and they must
// not be taken for the author's: the apply worker of 5 writes spock.progress in
// transactions of its own, which carry the origin and the LSN of the last one that it
// applied (flush_progress_if_needed in src/spock_apply.c).
type Translator struct {
	source Source
	dec    Decoder
	tables map[uint32]*described
	buf    []byte
	// held are the messages that begin a transaction, until its first change.
	held [][]byte
}

// Source is a node whose log is read.
type Source struct {
	// Version is its spock_version_num(), such as 50011.
	Version int
	// Sets are those of its replication sets whose tables are wanted.
	Sets []string
	Origins
}

// described is a table the stream has described.
type described struct {
	*Table
	// full is set once an old row has come for a table without a key: its replica
	// identity is FULL then.
	full bool
}

// NewTranslator returns one for a stream from its beginning.
func NewTranslator(s Source) *Translator {
	return &Translator{source: s, tables: map[uint32]*described{}}
}

// Options are the options of START_REPLICATION for the stream; see Options.
func (t *Translator) Options() []string { return Options(t.source.Version, t.source.Sets) }

// Translate hands to emit the messages of pgoutput that say the same as b: up to
// four, each valid during the call alone. Values in another form than text, and a
// database in another encoding than UTF-8, are errors: the values would reach the
// laggard as something else.
func (t *Translator) Translate(b []byte, emit func([]byte) error) error {
	m, err := t.dec.Decode(b)
	if err != nil {
		return err
	}
	switch m.Kind {
	case Startup:
		return t.startup(m)
	case CommitOrder, Text:
		return nil
	case Begin:
		t.held = [][]byte{bytes.Clone(t.plain(m))}
		return nil
	case Origin:
		return t.origin(m)
	case Commit:
		if t.held != nil {
			t.held = nil
			return nil
		}
		return emit(t.plain(m))
	case Relation:
		t.tables[m.Table.ID] = &described{Table: m.Table}
		return emit(t.relation(t.tables[m.Table.ID]))
	default:
		return t.changes(m, emit)
	}
}

// origin holds back whose a transaction is, with its beginning.
func (t *Translator) origin(m Message) error {
	if len(t.held) != 1 {
		return errors.New("an origin that does not follow the beginning of a transaction")
	}
	if m.Node == t.source.Self {
		return nil
	}
	t.begin(m.Kind)
	t.uint64(uint64(m.LSN))
	t.string(t.source.name(m.Node))
	t.held = append(t.held, bytes.Clone(t.buf))
	return nil
}

// changes renders a change, behind the beginning of its transaction.
func (t *Translator) changes(m Message, emit func([]byte) error) error {
	for _, b := range t.held {
		if err := emit(b); err != nil {
			return err
		}
	}
	t.held = nil
	if m.Kind == Truncate {
		return emit(t.plain(m))
	}
	return t.change(m, emit)
}

// startup refuses a database whose values come as they are and not as UTF-8: the
// native format knows no conversion (pg_decode_startup in src/spock_output_plugin.c).
func (t *Translator) startup(m Message) error {
	switch encoding := m.Params["database_encoding"]; encoding {
	case "UTF8", "SQL_ASCII":
	default:
		return fmt.Errorf("the database's encoding is %q: spock_output sends values in it, and only UTF8 can be carried over", encoding)
	}
	return nil
}

// plain renders what is of fixed length.
func (t *Translator) plain(m Message) []byte {
	t.begin(m.Kind)
	switch m.Kind {
	case Begin:
		t.uint64(uint64(m.LSN))
		t.time(m.Time)
		t.uint32(m.XID)
	case Commit:
		t.buf = append(t.buf, 0)
		t.uint64(uint64(m.LSN))
		t.uint64(uint64(m.End))
		t.time(m.Time)
	default: // Truncate
		t.uint32(uint32(len(m.Rels))) //nolint:gosec // it was read from 32 bits
		var options byte
		if m.Cascade {
			options |= cascade
		}
		if m.Restart {
			options |= restart
		}
		t.buf = append(t.buf, options)
		for _, id := range m.Rels {
			t.uint32(id)
		}
	}
	return t.buf
}

// relation renders a description. Spock does not send the replica identity; pgoutput
// marks every column when that is FULL.
func (t *Translator) relation(d *described) []byte {
	t.begin(Relation)
	t.uint32(d.ID)
	t.string(d.Name.Schema)
	t.string(d.Name.Name)
	kind := byte('d')
	if d.full {
		kind = 'f'
	}
	t.buf = append(t.buf, kind)
	t.uint16(len(d.Columns))
	for _, c := range d.Columns {
		var flags byte
		if c.Key || d.full {
			flags = 1
		}
		t.buf = append(t.buf, flags)
		t.string(c.Name)
		t.uint32(c.Type)
		t.uint32(uint32(c.Modifier)) //nolint:gosec // two's complement is meant
	}
	return t.buf
}

// change renders the change of a row.
func (t *Translator) change(m Message, emit func([]byte) error) error {
	d, ok := t.tables[m.Rel]
	if !ok {
		return fmt.Errorf("a change of table %d, which was not described", m.Rel)
	}
	for _, row := range []Row{m.Old, m.New} {
		if err := d.fits(row); err != nil {
			return err
		}
	}
	// Only a table whose old rows are logged whole has old rows and no key.
	if m.Old != nil && !d.full && !d.Keyed() {
		d.full = true
		if err := emit(t.relation(d)); err != nil {
			return err
		}
	}
	t.begin(m.Kind)
	t.uint32(m.Rel)
	if m.Old != nil {
		mark := byte('K')
		if d.full {
			mark = 'O'
		}
		t.buf = append(t.buf, mark)
		t.row(m.Old)
	}
	if m.New != nil {
		t.buf = append(t.buf, 'N')
		t.row(m.New)
	}
	return emit(t.buf)
}

// fits reports that a row cannot be one of the table.
func (d *described) fits(row Row) error {
	if row == nil {
		return nil
	}
	if len(row) != len(d.Columns) {
		return fmt.Errorf("a row of table %s has %d columns, the table %d", d.Name, len(row), len(d.Columns))
	}
	if i := slices.IndexFunc(row, func(v Value) bool { return v.Format == InBinary || v.Format == InMemory }); i >= 0 {
		return fmt.Errorf("column %q of table %s comes in format %q, though text was asked for", d.Columns[i].Name, d.Name, byte(row[i].Format))
	}
	return nil
}

func (t *Translator) begin(k Kind) { t.buf = append(t.buf[:0], byte(k)) }

func (t *Translator) uint16(n int) {
	t.buf = binary.BigEndian.AppendUint16(t.buf, uint16(n)) //nolint:gosec // it was read from 16 bits
}
func (t *Translator) uint32(n uint32) { t.buf = binary.BigEndian.AppendUint32(t.buf, n) }
func (t *Translator) uint64(n uint64) { t.buf = binary.BigEndian.AppendUint64(t.buf, n) }
func (t *Translator) time(micros int64) {
	t.uint64(uint64(micros)) //nolint:gosec // two's complement is meant
}

func (t *Translator) string(s string) {
	t.buf = append(t.buf, s...)
	t.buf = append(t.buf, 0)
}

func (t *Translator) row(row Row) {
	t.uint16(len(row))
	for _, v := range row {
		t.buf = append(t.buf, byte(v.Format))
		if v.Format == InText {
			t.uint32(uint32(len(v.Data))) //nolint:gosec // no message is longer
			t.buf = append(t.buf, v.Data...)
		}
	}
}
