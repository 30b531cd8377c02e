package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"healer/topology"
)

func drawName(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-zä"' ]{1,12}`).Draw(t, label)
}

func drawRow(t *rapid.T, label string, formats ...Format) Row {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Value {
		v := Value{Format: rapid.SampledFrom(formats).Draw(t, "format")}
		switch v.Format {
		case InText:
			v.Data = rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 20).Draw(t, "text")
		case InBinary, InMemory:
			v.Data = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "data")
		case Null, Unchanged:
		}
		return v
	}), 1, 6).Draw(t, label)
}

func drawTable(t *rapid.T) *Table {
	tab := &Table{ID: rapid.Uint32().Draw(t, "id")}
	tab.Name = topology.TableName{Schema: drawName(t, "schema"), Name: drawName(t, "table")}
	for range rapid.IntRange(0, 5).Draw(t, "columns") {
		tab.Columns = append(tab.Columns, Column{
			Name: drawName(t, "column"), Key: rapid.Bool().Draw(t, "key"),
			Type: rapid.Uint32().Draw(t, "type"), Modifier: rapid.Int32().Draw(t, "modifier"),
		})
	}
	return tab
}

// drawMessage draws what an encoder of that version can be given.
func drawMessage(t *rapid.T, version int) Message {
	m := Message{Kind: rapid.SampledFrom([]Kind{Begin, Commit, Origin, CommitOrder, Relation, Insert, Update, Delete, Truncate, Text}).Draw(t, "kind")}
	lsn := func(label string) topology.LSN { return topology.LSN(rapid.Uint64().Draw(t, label)) }
	formats := []Format{Null, Unchanged, InText, InBinary, InMemory}
	switch m.Kind {
	case Begin:
		m.LSN, m.Time, m.XID = lsn("lsn"), rapid.Int64().Draw(t, "time"), rapid.Uint32().Draw(t, "xid")
	case Commit:
		m.LSN, m.End, m.Time = lsn("lsn"), lsn("end"), rapid.Int64().Draw(t, "time")
	case Origin:
		m.LSN, m.Node = lsn("lsn"), rapid.Uint16().Draw(t, "node")
		if version >= 5 && rapid.Bool().Draw(t, "named") {
			m.Name = drawName(t, "name")
		}
	case CommitOrder:
		m.Time = rapid.Int64().Draw(t, "time")
	case Relation:
		m.Table = drawTable(t)
	case Truncate:
		m.Rels = rapid.SliceOfN(rapid.Uint32(), 0, 4).Draw(t, "tables")
		m.Cascade, m.Restart = rapid.Bool().Draw(t, "cascade"), rapid.Bool().Draw(t, "restart")
	case Text:
		m.XID, m.LSN, m.Name = rapid.Uint32().Draw(t, "xid"), lsn("lsn"), drawName(t, "prefix")
		m.Transactional = rapid.Bool().Draw(t, "transactional")
		m.Body = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "body")
	default:
		m.Rel = rapid.Uint32().Draw(t, "table")
		if m.Kind == Delete || (m.Kind == Update && rapid.Bool().Draw(t, "with the old row")) {
			m.Old = drawRow(t, "old", formats...)
		}
		if m.Kind != Delete {
			m.New = drawRow(t, "new", formats...)
		}
	}
	return m
}

// TestWhatIsWrittenIsRead draws a stream, writes it as Spock does, and reads it.
func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &encoder{version: rapid.SampledFrom([]int{4, 5}).Draw(t, "version")}
		params := map[string]string{"database_encoding": "UTF8", "spock_version": "6.0.0"}
		if e.version == 5 {
			params["proto_version"] = "5"
		}
		var d Decoder
		if m, err := d.Decode(e.startup(params)); err != nil || !cmp.Equal(params, m.Params) || d.Version() != e.version {
			t.Fatalf("startup message: %+v, version %d, %v", m, d.Version(), err)
		}
		for range rapid.IntRange(1, 6).Draw(t, "messages") {
			want := drawMessage(t, e.version)
			e.written = rapid.Uint64().Draw(t, "written")
			if e.version == 5 || want.Kind == Commit {
				want.Written = topology.LSN(e.written)
			}
			b := e.message(want)
			got, err := d.Decode(b)
			if err != nil {
				t.Fatalf("%x: %v", b, err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%x (-written +read):\n%s", b, diff)
			}
			if len(b) > 9 {
				cut := b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
				again := Decoder{version: e.version}
				if m, err := again.Decode(cut); err == nil {
					t.Fatalf("%x of %x was read as %+v", cut, b, m)
				}
			}
		}
	})
}
