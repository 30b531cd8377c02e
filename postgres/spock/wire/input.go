package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"healer/topology"
)

// input reads a message with bounds checks; the first failure sticks, and then
// nothing is left to read.
type input struct {
	b   []byte
	err error
}

func (in *input) fail(format string, args ...any) {
	if in.err == nil {
		in.err, in.b = fmt.Errorf(format, args...), nil
	}
}

// done reports the first failure, or that more was sent than is known.
func (in *input) done() error {
	if in.err == nil && len(in.b) > 0 {
		in.fail("%d bytes are left over", len(in.b))
	}
	return in.err
}

func (in *input) take(n int, what string) []byte {
	if in.err != nil {
		return nil
	}
	if n < 0 || n > len(in.b) {
		in.fail("%w its %s", errShort, what)
		return nil
	}
	out := in.b[:n:n]
	in.b = in.b[n:]
	return out
}

func (in *input) byte(what string) byte {
	if b := in.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (in *input) uint16(what string) uint16 {
	if b := in.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (in *input) uint32(what string) uint32 {
	if b := in.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (in *input) uint64(what string) uint64 {
	if b := in.take(8, what); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (in *input) lsn(what string) topology.LSN { return topology.LSN(in.uint64(what)) }

func (in *input) time(what string) int64 {
	return int64(in.uint64(what)) //nolint:gosec // two's complement is meant
}

// noFlags reads the flags of a message that has none yet.
func (in *input) noFlags() {
	if flags := in.byte("flags"); flags != 0 {
		in.fail("flags %#x are unknown", flags)
	}
}

// cstring reads up to a NUL.
func (in *input) cstring(what string) []byte {
	i := bytes.IndexByte(in.b, 0)
	if i < 0 {
		in.take(len(in.b)+1, what)
		return nil
	}
	out := in.b[:i:i]
	in.b = in.b[i+1:]
	return out
}

// ended reads n bytes of which the last is the NUL that ends them, and no other.
func (in *input) ended(n int, what string) []byte {
	b := in.take(n, what)
	if in.err != nil {
		return nil
	}
	if len(b) == 0 || bytes.IndexByte(b, 0) != n-1 {
		in.fail("its %s does not end where its length says", what)
		return nil
	}
	return b[: n-1 : n-1]
}

func (in *input) params() map[string]string {
	params := map[string]string{}
	for in.err == nil && len(in.b) > 0 {
		if len(params) == maxParams {
			in.fail("more than %d parameters", maxParams)
			break
		}
		key := string(in.cstring("parameter"))
		params[key] = string(in.cstring("value of parameter " + key))
	}
	return params
}

// table reads a description, spock_write_rel.
func (in *input) table() *Table {
	in.noFlags()
	t := &Table{ID: in.uint32("table id")}
	t.Name.Schema = string(in.ended(int(in.byte("length of the schema")), "schema"))
	t.Name.Name = string(in.ended(int(in.byte("length of the table name")), "table name"))
	in.marker('A')
	for n := in.uint16("column count"); n > 0 && in.err == nil; n-- {
		t.Columns = append(t.Columns, in.column())
	}
	return t
}

// column reads one, spock_write_attrs.
func (in *input) column() Column {
	in.marker('C')
	flags := in.byte("column flags")
	if flags&^identity != 0 {
		in.fail("column flags %#x are unknown", flags)
	}
	in.marker('N')
	c := Column{Key: flags&identity != 0}
	c.Name = string(in.ended(int(in.uint16("length of a column name")), "column name"))
	c.Type = in.uint32("column type")
	c.Modifier = int32(in.uint32("type modifier")) //nolint:gosec // two's complement is meant
	return c
}

func (in *input) marker(due byte) {
	if got := in.byte("marker"); in.err == nil && got != due {
		in.fail("marker %q where %q is due", got, due)
	}
}

// row reads a row into buf, which it may grow; spock_write_tuple.
func (in *input) row(buf Row) Row {
	in.marker('T')
	n := int(in.uint16("column count"))
	// Every column takes at least one byte: a count beyond that is a lie, and must
	// not decide an allocation.
	if in.err == nil && n > len(in.b) {
		in.fail("%w its row", errShort)
	}
	out := buf[:0]
	if out == nil {
		out = Row{}
	}
	for ; n > 0 && in.err == nil; n-- {
		out = append(out, in.value())
	}
	if in.err != nil {
		return nil
	}
	return out
}

func (in *input) value() Value {
	v := Value{Format: Format(in.byte("value format"))}
	switch v.Format {
	case Null, Unchanged:
	case InText:
		v.Data = in.ended(int(in.uint32("value length")), "value")
	case InBinary, InMemory:
		v.Data = in.take(int(in.uint32("value length")), "value")
	default:
		in.fail("a value's format %q is unknown", byte(v.Format))
	}
	return v
}

// truncated reads the tables of a TRUNCATE, spock_write_truncate: no flags in front.
func (in *input) truncated() (ids []uint32, cascades, restarts bool) {
	n := int(in.uint32("table count"))
	flags := in.byte("options")
	if flags&^(cascade|restart) != 0 {
		in.fail("options %#x are unknown", flags)
	}
	if in.err != nil || n < 0 || n > len(in.b)/4 {
		in.fail("%w its table ids", errShort)
		return nil, false, false
	}
	ids = make([]uint32, n)
	for i := range ids {
		ids[i] = in.uint32("table id")
	}
	return ids, flags&cascade != 0, flags&restart != 0
}

// text reads a logical message, spock_write_message: no flags in front.
func (in *input) text(m *Message) {
	m.XID, m.LSN = in.uint32("xid"), in.lsn("message LSN")
	m.Transactional = in.byte("transactional") != 0
	m.Name = string(in.cstring("prefix"))
	m.Body = in.take(int(in.uint32("message length")), "message")
}
