package rescue

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"
	"pgregory.net/rapid"

	"healer/topology"
)

// The encoders below write what PostgreSQL writes; they share nothing with the
// decoder.

func encodeTuple(b []byte, row tuple) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(row)))
	for _, d := range row {
		b = append(b, byte(d.kind))
		if d.kind == datumText {
			b = binary.BigEndian.AppendUint32(b, uint32(len(d.text)))
			b = append(b, d.text...)
		}
	}
	return b
}

func drawTuple(t *rapid.T, label string) tuple {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) datum {
		d := datum{kind: rapid.SampledFrom([]datumKind{datumNull, datumUnchanged, datumText}).Draw(t, "kind")}
		if d.kind == datumText {
			d.text = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "text")
		}
		return d
	}), 1, 6).Draw(t, label)
}

func drawMessage(t *rapid.T) []byte {
	id := rapid.Uint32().Draw(t, "id")
	switch kind := rapid.SampledFrom([]byte("BCOIUDRT")).Draw(t, "kind"); kind {
	case 'I':
		return encodeTuple(append(binary.BigEndian.AppendUint32([]byte{kind}, id), 'N'), drawTuple(t, "new"))
	case 'U':
		b := binary.BigEndian.AppendUint32([]byte{kind}, id)
		if old := rapid.SampledFrom([]byte{0, 'K', 'O'}).Draw(t, "old"); old != 0 {
			b = encodeTuple(append(b, old), drawTuple(t, "old row"))
		}
		return encodeTuple(append(b, 'N'), drawTuple(t, "new"))
	case 'D':
		old := rapid.SampledFrom([]byte("KO")).Draw(t, "old")
		return encodeTuple(append(binary.BigEndian.AppendUint32([]byte{kind}, id), old), drawTuple(t, "old row"))
	case 'R':
		b := binary.BigEndian.AppendUint32([]byte{kind}, id)
		b = append(b, "sch\x00tab\x00d"...)
		n := rapid.IntRange(0, 4).Draw(t, "columns")
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		for range n {
			b = append(b, rapid.SampledFrom([]byte{0, 1}).Draw(t, "flags"))
			b = append(b, rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "column")+"\x00"...)
			b = binary.BigEndian.AppendUint64(b, rapid.Uint64().Draw(t, "type"))
		}
		return b
	case 'T':
		ids := rapid.SliceOfN(rapid.Uint32(), 1, 4).Draw(t, "ids")
		b := append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(ids))), 0)
		for _, i := range ids {
			b = binary.BigEndian.AppendUint32(b, i)
		}
		return b
	case 'O':
		return append(binary.BigEndian.AppendUint64([]byte{kind}, rapid.Uint64().Draw(t, "lsn")), "pg_16394\x00"...)
	case 'C':
		b := binary.BigEndian.AppendUint64([]byte{kind, 0}, rapid.Uint64().Draw(t, "commit"))
		return drawTime(t, binary.BigEndian.AppendUint64(b, rapid.Uint64().Draw(t, "end")))
	default:
		b := drawTime(t, binary.BigEndian.AppendUint64([]byte{kind}, rapid.Uint64().Draw(t, "final")))
		return binary.BigEndian.AppendUint32(b, rapid.Uint32().Draw(t, "xid"))
	}
}

// drawTime stays within what the library can express, up to the year 2262.
func drawTime(t *rapid.T, b []byte) []byte {
	const span = int64(1) << 52
	return binary.BigEndian.AppendUint64(b, uint64(rapid.Int64Range(-span, span).Draw(t, "time")))
}

// TestDecodeAgreesWithPglogrepl compares the decoder with the library's parser.
func TestDecodeAgreesWithPglogrepl(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawMessage(t)
		got, err := new(decoder).decode(b)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		want, err := pglogrepl.Parse(b)
		if err != nil {
			t.Fatalf("pglogrepl: %x: %v", b, err)
		}
		if diff := cmp.Diff(fromLibrary(want), got, cmp.AllowUnexported(message{}, relation{}, relColumn{}, datum{})); diff != "" {
			t.Fatalf("decode of %x (-pglogrepl +ours):\n%s", b, diff)
		}
	})
}

func fromLibrary(m pglogrepl.Message) message {
	out := message{kind: msgKind(m.Type())}
	row := func(t *pglogrepl.TupleData) tuple {
		var r tuple
		for _, c := range t.Columns {
			r = append(r, datum{kind: datumKind(c.DataType), text: c.Data})
		}
		return r
	}
	switch m := m.(type) {
	case *pglogrepl.BeginMessage:
		out.lsn, out.time = topology.LSN(m.FinalLSN), m.CommitTime.UnixMicro()-pgEpoch().UnixMicro()
	case *pglogrepl.CommitMessage:
		out.lsn, out.time = topology.LSN(m.TransactionEndLSN), m.CommitTime.UnixMicro()-pgEpoch().UnixMicro()
	case *pglogrepl.OriginMessage:
		out.lsn, out.origin = topology.LSN(m.CommitLSN), m.Name
	case *pglogrepl.RelationMessage:
		out.rel = &relation{
			id: m.RelationID, identity: m.ReplicaIdentity,
			table: topology.TableName{Schema: m.Namespace, Name: m.RelationName},
		}
		for _, c := range m.Columns {
			out.rel.columns = append(out.rel.columns, relColumn{name: c.Name, key: c.Flags&1 != 0})
		}
	case *pglogrepl.InsertMessage:
		out.relID, out.new = m.RelationID, row(m.Tuple)
	case *pglogrepl.UpdateMessage:
		out.relID, out.new, out.oldKind = m.RelationID, row(m.NewTuple), m.OldTupleType
		if m.OldTuple != nil {
			out.old = row(m.OldTuple)
		}
	case *pglogrepl.DeleteMessage:
		out.relID, out.old, out.oldKind = m.RelationID, row(m.OldTuple), m.OldTupleType
	case *pglogrepl.TruncateMessage:
		out.relIDs = m.RelationIDs
	}
	return out
}

// FuzzDecode feeds the decoder anything: it must return, not panic, and not
// allocate what a length in the message promises.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("I\x00\x00\x00\x01N\xff\xff"))
	f.Add([]byte("I\x00\x00\x00\x01N\x00\x01t\xff\xff\xff\xff"))
	f.Add([]byte("T\xff\xff\xff\xff\x00"))
	f.Add([]byte("U\x00\x00\x00\x01K\x00\x01nN\x00\x01u"))
	f.Add([]byte("R\x00\x00\x00\x01\x00t\x00d\x00\x01\x01a\x00\x00\x00\x00\x17\xff\xff\xff\xff"))
	for _, m := range readRecorded(f) {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &decoder{}
		for range 2 { // the second time with warm buffers
			m, err := d.decode(b)
			if err == nil && (len(m.old) > len(b) || len(m.new) > len(b) || len(m.relIDs) > len(b)) {
				t.Fatalf("%d bytes became %d + %d values and %d tables", len(b), len(m.old), len(m.new), len(m.relIDs))
			}
		}
	})
}
