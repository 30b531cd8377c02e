package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"healer/postgres/spock/wire"
	"healer/postgres/spock/wire/wiretest"
	"healer/topology"
)

// decoderOf has read a startup message of that version.
func decoderOf(version int) *wire.Decoder {
	params := map[string]string{}
	if version >= 5 {
		params["proto_version"] = "5"
	}
	d := &wire.Decoder{}
	if _, err := d.Decode(new(wiretest.Encoder).Startup(params)); err != nil {
		panic(err)
	}
	return d
}

func drawName(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-zä"' ]{1,12}`).Draw(t, label)
}

func drawRow(t *rapid.T, label string, formats ...wire.Format) wire.Row {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) wire.Value {
		v := wire.Value{Format: rapid.SampledFrom(formats).Draw(t, "format")}
		switch v.Format {
		case wire.InText:
			v.Data = rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 20).Draw(t, "text")
		case wire.InBinary, wire.InMemory:
			v.Data = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "data")
		case wire.Null, wire.Unchanged:
		}
		return v
	}), 1, 6).Draw(t, label)
}

func drawTable(t *rapid.T) *wire.Table {
	tab := &wire.Table{ID: rapid.Uint32().Draw(t, "id")}
	tab.Name = topology.TableName{Schema: drawName(t, "schema"), Name: drawName(t, "table")}
	for range rapid.IntRange(0, 5).Draw(t, "columns") {
		tab.Columns = append(tab.Columns, wire.Column{
			Name: drawName(t, "column"), Key: rapid.Bool().Draw(t, "key"),
			Type: rapid.Uint32().Draw(t, "type"), Modifier: rapid.Int32().Draw(t, "modifier"),
		})
	}
	return tab
}

// drawMessage draws what an encoder of that version can be given.
func drawMessage(t *rapid.T, version int) wire.Message {
	m := wire.Message{Kind: rapid.SampledFrom([]wire.Kind{wire.Begin, wire.Commit, wire.Origin, wire.CommitOrder, wire.Relation, wire.Insert, wire.Update, wire.Delete, wire.Truncate, wire.Text}).Draw(t, "kind")}
	lsn := func(label string) topology.LSN { return topology.LSN(rapid.Uint64().Draw(t, label)) }
	formats := []wire.Format{wire.Null, wire.Unchanged, wire.InText, wire.InBinary, wire.InMemory}
	switch m.Kind {
	case wire.Begin:
		m.LSN, m.Time, m.XID = lsn("lsn"), rapid.Int64().Draw(t, "time"), rapid.Uint32().Draw(t, "xid")
	case wire.Commit:
		m.LSN, m.End, m.Time = lsn("lsn"), lsn("end"), rapid.Int64().Draw(t, "time")
	case wire.Origin:
		m.LSN, m.Node = lsn("lsn"), rapid.Uint16().Draw(t, "node")
		if version >= 5 && rapid.Bool().Draw(t, "named") {
			m.Name = drawName(t, "name")
		}
	case wire.CommitOrder:
		m.Time = rapid.Int64().Draw(t, "time")
	case wire.Relation:
		m.Table = drawTable(t)
	case wire.Truncate:
		m.Rels = rapid.SliceOfN(rapid.Uint32(), 0, 4).Draw(t, "tables")
		m.Cascade, m.Restart = rapid.Bool().Draw(t, "cascade"), rapid.Bool().Draw(t, "restart")
	case wire.Text:
		m.XID, m.LSN, m.Name = rapid.Uint32().Draw(t, "xid"), lsn("lsn"), drawName(t, "prefix")
		m.Transactional = rapid.Bool().Draw(t, "transactional")
		m.Body = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "body")
	default:
		m.Rel = rapid.Uint32().Draw(t, "table")
		if m.Kind == wire.Delete || (m.Kind == wire.Update && rapid.Bool().Draw(t, "with the old row")) {
			m.Old = drawRow(t, "old", formats...)
		}
		if m.Kind != wire.Delete {
			m.New = drawRow(t, "new", formats...)
		}
	}
	return m
}

// TestWhatIsWrittenIsRead draws a stream, writes it as Spock does, and reads it.
func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &wiretest.Encoder{Version: rapid.SampledFrom([]int{4, 5}).Draw(t, "version")}
		params := map[string]string{"database_encoding": "UTF8", "spock_version": "6.0.0"}
		if e.Version == 5 {
			params["proto_version"] = "5"
		}
		var d wire.Decoder
		if m, err := d.Decode(e.Startup(params)); err != nil || !cmp.Equal(params, m.Params) || d.Version() != e.Version {
			t.Fatalf("startup message: %+v, version %d, %v", m, d.Version(), err)
		}
		for range rapid.IntRange(1, 6).Draw(t, "messages") {
			want := drawMessage(t, e.Version)
			e.Written = rapid.Uint64().Draw(t, "written")
			if e.Version == 5 || want.Kind == wire.Commit {
				want.Written = topology.LSN(e.Written)
			}
			b := e.Message(want)
			got, err := d.Decode(b)
			if err != nil {
				t.Fatalf("%x: %v", b, err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%x (-written +read):\n%s", b, diff)
			}
			if len(b) > 9 {
				cut := b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
				again := decoderOf(e.Version)
				if m, err := again.Decode(cut); err == nil {
					t.Fatalf("%x of %x was read as %+v", cut, b, m)
				}
			}
		}
	})
}
