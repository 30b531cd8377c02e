package rescue

import (
	"fmt"
	"hash/maphash"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestRunsDoWhatTheirChangesDo makes transactions of changes of few rows, and does
// them run by run: as a server would, which refuses a second row with a key, a row
// that is not there, and a row that one statement changes twice.
func TestRunsDoWhatTheirChangesDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shapes := map[string]*shape{}
		for id := uint32(1); id <= 2; id++ {
			b := &binding{rel: &relation{id: id}, keyAt: []int{0}, free: rapid.Bool().Draw(t, "free")}
			for _, kind := range []msgKind{msgInsert, msgUpdate, msgDelete} {
				s := &shape{kind: kind, b: b, params: []param{{at: 0}, {at: 1}}}
				if kind == msgDelete {
					s.params = []param{{old: true, at: 0}}
				}
				shapes[fmt.Sprint(id, string(kind))] = s
			}
		}
		set := runs{seed: maphash.MakeSeed()}
		for range 2 { // the second transaction finds the buffers of the first
			set.reset()
			want := map[string]string{}
			for n := range rapid.IntRange(0, 200).Draw(t, "changes") {
				key := fmt.Sprint(rapid.IntRange(0, rapid.SampledFrom([]int{3, 90}).Draw(t, "keys")).Draw(t, "key"))
				table := fmt.Sprint(rapid.IntRange(1, 2).Draw(t, "table"))
				row := tuple{{kind: datumText, text: []byte(key)}, {kind: datumText, text: fmt.Append(nil, n)}}
				c := &change{kind: msgInsert, new: row}
				if _, ok := want[table+" "+key]; ok {
					c.kind = msgUpdate
					if rapid.Bool().Draw(t, "delete") {
						c = &change{kind: msgDelete, old: row[:1]}
					}
				}
				s := shapes[table+string(c.kind)]
				c.b = s.b
				set.add(c, s)
				if want[table+" "+key] = fmt.Sprint(n); c.kind == msgDelete {
					delete(want, table+" "+key)
				}
			}
			if diff := cmp.Diff(want, perform(t, &set)); diff != "" {
				t.Fatalf("the runs do something else (-changes +runs):\n%s", diff)
			}
		}
	})
}

// perform does the runs to empty tables.
func perform(t *rapid.T, set *runs) map[string]string {
	have := map[string]string{}
	for _, r := range set.runs {
		values := strings.Split(strings.ReplaceAll(string(r.values), `"`, ""), ",")
		if len(values) != r.count*len(r.shape.params) {
			t.Fatalf("%d values of %d changes", len(values), r.count)
		}
		changed := map[string]bool{}
		for ; len(values) > 0; values = values[len(r.shape.params):] {
			row := fmt.Sprint(r.shape.b.rel.id, values[0])
			row = row[:1] + " " + row[1:]
			if _, ok := have[row]; ok == (r.shape.kind == msgInsert) || changed[row] {
				t.Fatalf("a run of %c changes row %s (there: %v, changed already: %v)", r.shape.kind, row, ok, changed[row])
			}
			changed[row] = true
			if r.shape.kind == msgDelete {
				delete(have, row)
				continue
			}
			have[row] = values[1]
		}
	}
	return have
}

// TestRunsOfAFewRows has the shape of a transaction whose changes alternate.
func TestRunsOfAFewRows(t *testing.T) {
	b := &binding{rel: &relation{id: 1}, keyAt: []int{0}, free: true}
	insert := &shape{kind: msgInsert, b: b, params: []param{{at: 0}}}
	remove := &shape{kind: msgDelete, b: b, params: []param{{old: true, at: 0}}}
	set := runs{seed: maphash.MakeSeed()}
	for i := range 10 {
		row := tuple{{kind: datumText, text: fmt.Append(nil, i)}}
		set.add(&change{kind: msgInsert, b: b, new: row}, insert)
		set.add(&change{kind: msgDelete, b: b, old: tuple{{kind: datumText, text: fmt.Append(nil, 100+i)}}}, remove)
	}
	if len(set.runs) != 2 || set.runs[0].count != 10 || set.runs[1].count != 10 {
		t.Errorf("changes of different rows became %d runs", len(set.runs))
	}
	b.free = false
	set.reset()
	for i := range 10 {
		row := tuple{{kind: datumText, text: fmt.Append(nil, i)}}
		set.add(&change{kind: msgInsert, b: b, new: row}, insert)
		set.add(&change{kind: msgDelete, b: b, old: tuple{{kind: datumText, text: fmt.Append(nil, 100+i)}}}, remove)
	}
	if len(set.runs) != 20 {
		t.Errorf("with another unique index the order is not kept: %d runs", len(set.runs))
	}
}

// TestRowsForCopyAreTheElements reads rows of COPY's text format as PostgreSQL's
// manual describes it, and finds the values that went into the array.
func TestRowsForCopyAreTheElements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 4).Draw(t, "width")
		value := rapid.SliceOfN(rapid.SampledFrom([]byte("aN,\"\\{}\t\n\r\b.\x80 ")), 0, 6)
		var want [][]string
		var elements []byte
		for range rapid.IntRange(1, 20).Draw(t, "rows") {
			row := make([]string, width)
			for i := range row {
				d := datum{kind: datumNull}
				row[i] = "NULL"
				if rapid.Bool().Draw(t, "value") {
					d = datum{kind: datumText, text: value.Draw(t, "text")}
					row[i] = fmt.Sprintf("%q", d.text)
				}
				if len(elements) > 0 {
					elements = append(elements, ',')
				}
				elements = appendElement(elements, d)
			}
			want = append(want, row)
		}
		most := rapid.IntRange(1, len(want)).Draw(t, "most")
		var got [][]string
		for rest := elements; len(rest) > 0; {
			var text []byte
			text, rest = appendCopy(nil, rest, width, most)
			rows := strings.SplitAfter(string(text), "\n")
			if rows = rows[:len(rows)-1]; len(rows) > most {
				t.Fatalf("%d rows, at most %d were asked for", len(rows), most)
			}
			for _, row := range rows {
				got = append(got, readCopy(strings.TrimSuffix(row, "\n")))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-elements +rows):\n%s", diff)
		}
	})
}

// readCopy reads a row.
func readCopy(row string) (values []string) {
	for _, field := range strings.Split(row, "\t") {
		if field == `\N` {
			values = append(values, "NULL")
			continue
		}
		plain := strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\r`, "\r").Replace(field)
		values = append(values, fmt.Sprintf("%q", plain))
	}
	return values
}
