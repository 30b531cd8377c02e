package rescue

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"healer/topology"
)

// TestSQL has the statement of each shape of change. "table" defines T's table,
// one column a line with its flags; "insert", "update" and "delete" give what is
// sent of each column: t text, n NULL, u unchanged; after a slash the old row.
func TestSQL(t *testing.T) {
	var b *binding
	r := rule{mine: []uint32{2, 7}}
	datadriven.RunTest(t, "testdata/sql", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "table":
			tab := &table{identified: true, name: topology.TableName{Schema: "public", Name: d.CmdArgs[0].Key}}
			tab.partitioned = d.HasArg("partitioned")
			rel := &relation{table: tab.name}
			key := uniqueIndex{}
			for line := range strings.Lines(d.Input) {
				f := strings.Fields(line)
				has := func(flag string) bool { return strings.Contains(strings.Join(f[1:], " "), flag) }
				tab.columns = append(tab.columns, column{name: f[0], typ: "text", generated: has("generated"), always: has("always")})
				rel.columns = append(rel.columns, relColumn{name: f[0], key: has("key")})
				if has("key") {
					key.columns = append(key.columns, keyColumn{name: f[0], typ: "text", equals: `OPERATOR("pg_catalog".=)`})
				}
			}
			tab.keys = []uniqueIndex{key}
			var err error
			if b, err = bind("n3", rel, tab); err != nil {
				return err.Error()
			}
			return "ok\n"
		case "greater":
			r.greater = nil
			for i := range d.CmdArgs {
				r.greater = append(r.greater, uint32(i+10))
			}
			return fmt.Sprintln(r.greater)
		case "insert", "update", "delete":
			row, old, moved := strings.Cut(d.CmdArgs[0].Key, "/")
			c := &change{kind: msgKind(strings.ToUpper(d.Cmd)[0]), b: b, new: rowOf(row), old: rowOf(old), moved: moved}
			st := c.build(r)
			return fmt.Sprintf("%s\nparameters: %v stamped: %v\nshape: %s\n", st.sql, st.params, st.stamped, c.shape(nil))
		default:
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		}
	})
}

func rowOf(kinds string) tuple {
	var out tuple
	for i := range len(kinds) {
		out = append(out, datum{kind: datumKind(kinds[i])})
	}
	return out
}
