package wiretest

import (
	"encoding/binary"
	"maps"
	"slices"

	"healer/postgres/spock/wire"
)

// Encoder writes what src/spock_proto_native.c writes, function by function; it
// shares nothing with the decoder.
type Encoder struct {
	// Version is the protocol's, 4 or 5.
	Version int
	// Written is what GetXLogWriteRecPtr() returns.
	Written uint64
	b       []byte
}

// start is what each write function begins with, but write_startup_message.
func (e *Encoder) start(kind byte) {
	e.b = nil
	if e.Version >= 5 {
		e.int64(e.Written)
	}
	e.b = append(e.b, kind)
}

func (e *Encoder) int16(n uint16) { e.b = binary.BigEndian.AppendUint16(e.b, n) }
func (e *Encoder) int32(n uint32) { e.b = binary.BigEndian.AppendUint32(e.b, n) }
func (e *Encoder) int64(n uint64) { e.b = binary.BigEndian.AppendUint64(e.b, n) }
func (e *Encoder) string(s string) {
	e.b = append(append(e.b, s...), 0)
}

// Startup is write_startup_message.
func (e *Encoder) Startup(params map[string]string) []byte {
	e.b = []byte{'S', 1}
	for _, k := range slices.Sorted(maps.Keys(params)) {
		e.string(k)
		e.string(params[k])
	}
	return e.b
}

// Message is the write function of the message's kind.
func (e *Encoder) Message(m wire.Message) []byte {
	e.start(byte(m.Kind))
	switch m.Kind {
	case wire.Begin:
		e.b = append(e.b, 0)
		e.int64(uint64(m.LSN))
		e.int64(uint64(m.Time))
		e.int32(m.XID)
	case wire.Commit:
		e.b = append(e.b, 0)
		e.int64(uint64(m.LSN))
		e.int64(uint64(m.End))
		e.int64(uint64(m.Time))
		if e.Version == 4 {
			e.int64(e.Written)
		}
	case wire.Origin:
		var flags byte
		if e.Version >= 5 && m.Name != "" {
			flags = 1
		}
		e.b = append(e.b, flags)
		e.int64(uint64(m.LSN))
		e.int16(m.Node)
		if flags != 0 {
			e.string(m.Name)
		}
	case wire.CommitOrder:
		e.b = append(e.b, 0)
		e.int64(uint64(m.Time))
	case wire.Relation:
		e.relation(m.Table)
	case wire.Insert, wire.Update, wire.Delete:
		e.b = append(e.b, 0)
		e.int32(m.Rel)
		if m.Old != nil {
			e.b = append(e.b, 'K')
			e.tuple(m.Old)
		}
		if m.New != nil {
			e.b = append(e.b, 'N')
			e.tuple(m.New)
		}
	case wire.Truncate:
		e.int32(uint32(len(m.Rels)))
		var flags byte
		if m.Cascade {
			flags |= 1
		}
		if m.Restart {
			flags |= 2
		}
		e.b = append(e.b, flags)
		for _, id := range m.Rels {
			e.int32(id)
		}
	case wire.Text:
		e.int32(m.XID)
		e.int64(uint64(m.LSN))
		var transactional byte
		if m.Transactional {
			transactional = 1
		}
		e.b = append(e.b, transactional)
		e.string(m.Name)
		e.int32(uint32(len(m.Body)))
		e.b = append(e.b, m.Body...)
	}
	return e.b
}

// relation is spock_write_rel with spock_write_attrs.
func (e *Encoder) relation(t *wire.Table) {
	e.b = append(e.b, 0)
	e.int32(t.ID)
	e.b = append(e.b, byte(len(t.Name.Schema)+1))
	e.string(t.Name.Schema)
	e.b = append(e.b, byte(len(t.Name.Name)+1))
	e.string(t.Name.Name)
	e.b = append(e.b, 'A')
	e.int16(uint16(len(t.Columns)))
	for _, c := range t.Columns {
		var flags byte
		if c.Key {
			flags = 1
		}
		e.b = append(e.b, 'C', flags, 'N')
		e.int16(uint16(len(c.Name) + 1))
		e.string(c.Name)
		e.int32(c.Type)
		e.int32(uint32(c.Modifier))
	}
}

// tuple is spock_write_tuple.
func (e *Encoder) tuple(row wire.Row) {
	e.b = append(e.b, 'T')
	e.int16(uint16(len(row)))
	for _, v := range row {
		e.b = append(e.b, byte(v.Format))
		switch v.Format {
		case wire.InText:
			e.int32(uint32(len(v.Data) + 1))
			e.string(string(v.Data))
		case wire.InBinary, wire.InMemory:
			e.int32(uint32(len(v.Data)))
			e.b = append(e.b, v.Data...)
		case wire.Null, wire.Unchanged:
		}
	}
}
