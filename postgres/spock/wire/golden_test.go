package wire_test

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"healer/postgres/spock/wire"
)

// parse reads one message a line: bytes in hexadecimal and "text" that stands for
// itself, with spaces between; what follows # explains.
func parse(tb testing.TB, input string) [][]byte {
	tb.Helper()
	var out [][]byte
	for line := range strings.Lines(input) {
		line, _, _ = strings.Cut(line, "#")
		var b []byte
		for _, word := range strings.Fields(line) {
			if text, err := strconv.Unquote(word); err == nil {
				b = append(b, text...)
				continue
			}
			raw, err := hex.DecodeString(word)
			if err != nil {
				tb.Fatalf("%q: %v", word, err)
			}
			b = append(b, raw...)
		}
		if b != nil {
			out = append(out, b)
		}
	}
	return out
}

// TestStreams reads streams that were written down from src/spock_proto_native.c.
// "decode" says what each message is, "translate" what pgoutput would say.
func TestStreams(t *testing.T) {
	datadriven.RunTest(t, "testdata/streams", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		switch d.Cmd {
		case "decode":
			var dec wire.Decoder
			for _, b := range parse(t, d.Input) {
				m, err := dec.Decode(b)
				if err != nil {
					fmt.Fprintln(&out, "error:", err)
					continue
				}
				fmt.Fprintln(&out, render(m))
			}
		case "translate":
			tr := wire.NewTranslator(wire.Source{Origins: wire.Origins{
				Self: 0xd6b7, Names: map[uint16]string{0xc20c: "spk_app_n1_sub_n2_n1", 3: "spk_app_n1_sub_n2_n1"},
			}})
			for _, b := range parse(t, d.Input) {
				err := tr.Translate(b, func(b []byte) error {
					fmt.Fprintf(&out, "%q\n", b)
					return nil
				})
				if err != nil {
					fmt.Fprintln(&out, "error:", err)
				}
			}
		default:
			t.Fatalf("unknown command %s", d.Cmd)
		}
		return out.String()
	})
}

func render(m wire.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%c", m.Kind)
	if m.Written != 0 {
		fmt.Fprintf(&b, " written=%s", m.Written)
	}
	switch m.Kind {
	case wire.Startup:
		fmt.Fprintf(&b, " %v", m.Params)
	case wire.Begin:
		fmt.Fprintf(&b, " lsn=%s time=%d xid=%d", m.LSN, m.Time, m.XID)
	case wire.Commit:
		fmt.Fprintf(&b, " lsn=%s end=%s time=%d", m.LSN, m.End, m.Time)
	case wire.Origin:
		fmt.Fprintf(&b, " node=%d lsn=%s name=%q", m.Node, m.LSN, m.Name)
	case wire.CommitOrder:
		fmt.Fprintf(&b, " time=%d", m.Time)
	case wire.Relation:
		fmt.Fprintf(&b, " %d %s %+v", m.Table.ID, m.Table.Name, m.Table.Columns)
	case wire.Truncate:
		fmt.Fprintf(&b, " %v cascade=%v restart=%v", m.Rels, m.Cascade, m.Restart)
	case wire.Text:
		fmt.Fprintf(&b, " xid=%d lsn=%s transactional=%v %s %x", m.XID, m.LSN, m.Transactional, m.Name, m.Body)
	default:
		fmt.Fprintf(&b, " %d old=%s new=%s", m.Rel, renderRow(m.Old), renderRow(m.New))
	}
	return b.String()
}

func renderRow(row wire.Row) string {
	if row == nil {
		return "-"
	}
	parts := make([]string, len(row))
	for i, v := range row {
		parts[i] = fmt.Sprintf("%c%q", v.Format, v.Data)
	}
	return "(" + strings.Join(parts, ",") + ")"
}
