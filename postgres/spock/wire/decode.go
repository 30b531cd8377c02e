package wire

import (
	"errors"
	"fmt"
	"strconv"

	"healer/topology"
)

const (
	// oldest and newest are the versions of the protocol that are read here,
	// include/spock_output_proto.h.
	oldest, newest = 4, 5
	// flat is the only format of a startup message, SPOCK_STARTUP_MSG_FORMAT_FLAT.
	flat = 1
	// maxParams bounds a startup message; Spock's have 25.
	maxParams = 256
	// named is ORIGIN_FLAG_HAS_NAME, include/spock_proto_native.h.
	named = 1
	// identity is IS_REPLICA_IDENTITY, src/spock_proto_native.c.
	identity = 1
	// cascade and restart are TRUNCATE_CASCADE and TRUNCATE_RESTART_SEQS,
	// include/spock_output_proto.h.
	cascade, restart = 1, 2
)

// Decoder reads the messages of one stream, in their order: it learns the version
// of the protocol from the first one. Its zero value is ready.
type Decoder struct {
	version int
	old     Row
	new     Row
	name    string
}

// Version is the protocol's, 0 before the startup message.
func (d *Decoder) Version() int { return d.version }

// Decode reads one message, valid until the next call. The error says at what the
// bytes end, or what is not known.
func (d *Decoder) Decode(b []byte) (Message, error) {
	if d.version == 0 {
		return d.first(b)
	}
	var m Message
	in := &input{b: b}
	if d.version >= 5 {
		m.Written = topology.LSN(in.uint64("write position"))
	}
	m.Kind = Kind(in.byte("kind"))
	if in.err != nil {
		return Message{}, fmt.Errorf("spock_output message: %w", in.err)
	}
	d.body(in, &m)
	if err := in.done(); err != nil {
		return Message{}, fmt.Errorf("spock_output message %q: %w", byte(m.Kind), err)
	}
	if m.Old != nil {
		d.old = m.Old
	}
	if m.New != nil {
		d.new = m.New
	}
	return m, nil
}

// first reads the startup message, which has no write position before it in any
// version: the subscriber learns the version from it.
func (d *Decoder) first(b []byte) (Message, error) {
	in := &input{b: b}
	m := Message{Kind: Kind(in.byte("kind"))}
	if in.err == nil && m.Kind != Startup {
		in.fail("message %q before the startup message", byte(m.Kind))
	}
	if format := in.byte("format"); in.err == nil && format != flat {
		in.fail("format %d is unknown", format)
	}
	m.Params = in.params()
	version := oldest
	if said, ok := m.Params["proto_version"]; ok && in.err == nil {
		var err error
		if version, err = strconv.Atoi(said); err != nil || version < oldest || version > newest {
			in.fail("protocol %q is none of %d to %d", said, oldest, newest)
		}
	}
	if err := in.done(); err != nil {
		return Message{}, fmt.Errorf("spock_output startup message: %w", err)
	}
	d.version = version
	return m, nil
}

// body reads what follows the kind.
func (d *Decoder) body(in *input, m *Message) {
	switch m.Kind {
	case Begin:
		in.noFlags()
		m.LSN, m.Time = in.lsn("commit LSN"), in.time("commit time")
		m.XID = in.uint32("xid")
	case Commit:
		in.noFlags()
		m.LSN, m.End, m.Time = in.lsn("commit LSN"), in.lsn("end LSN"), in.time("commit time")
		if d.version == 4 {
			m.Written = in.lsn("write position")
		}
	case Origin:
		d.origin(in, m)
	case CommitOrder:
		in.noFlags()
		m.Time = in.time("commit time")
	case Relation:
		m.Table = in.table()
	case Insert:
		d.change(in, m, false, true)
	case Update:
		d.change(in, m, true, true)
	case Delete:
		d.change(in, m, true, false)
	case Truncate:
		m.Rels, m.Cascade, m.Restart = in.truncated()
	case Text:
		in.text(m)
	case Startup:
		in.fail("it comes twice")
	default:
		in.fail("its kind is unknown")
	}
}

func (d *Decoder) origin(in *input, m *Message) {
	flags := in.byte("flags")
	if flags&^named != 0 || (flags != 0 && d.version < 5) {
		in.fail("flags %#x are unknown", flags)
	}
	m.LSN, m.Node = in.lsn("origin LSN"), in.uint16("node id")
	if flags&named != 0 {
		if name := in.cstring("node name"); d.name != string(name) {
			d.name = string(name)
		}
		m.Name = d.name
	}
}

// change reads the change of a row. The old row, marked K or O, may be left out of
// an update.
func (d *Decoder) change(in *input, m *Message, old, fresh bool) {
	in.noFlags()
	m.Rel = in.uint32("table id")
	mark := in.byte("row marker")
	if old && (mark == 'K' || mark == 'O') {
		m.Old = in.row(d.old)
		if !fresh {
			return
		}
		mark = in.byte("row marker")
	}
	if in.err == nil && (!fresh || mark != 'N') {
		in.fail("row marker %q is not the one that is due", mark)
	}
	m.New = in.row(d.new)
}

var errShort = errors.New("ends within")
