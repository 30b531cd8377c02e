package rescue

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/topology"
)

// script is a stream and a T at once: it plays messages and notes what is applied.
type script struct {
	messages []message
	applied  []string
}

func (s *script) next(context.Context) (message, error) {
	if len(s.messages) == 0 {
		return message{}, io.EOF
	}
	m := s.messages[0]
	s.messages = s.messages[1:]
	return m, nil
}
func (s *script) extend(topology.LSN) {}

func (s *script) start(lsn topology.LSN, micros int64, _ int) {
	s.applied = append(s.applied, fmt.Sprintf("begin %d at %d", lsn, micros))
}

func (s *script) change(_ context.Context, c *change) error {
	s.applied = append(s.applied, fmt.Sprintf("%c %s", c.kind, strings.Join(c.key(), ",")))
	return nil
}

func (s *script) finish(context.Context) error {
	s.applied = append(s.applied, "commit")
	return nil
}
func (s *script) drain(context.Context) error { return nil }

// tx is a transaction of one origin, with changes of table t by key; "-" deletes,
// "a>b" moves.
func tx(origin string, lsn topology.LSN, time int64, keys ...string) []message {
	text := func(s string) tuple { return tuple{{kind: datumText, text: []byte(s)}} }
	out := []message{{kind: msgBegin, time: time}}
	if origin != "" {
		out = append(out, message{kind: msgOrigin, origin: origin, lsn: lsn})
	}
	for _, k := range keys {
		from, to, moves := strings.Cut(k, ">")
		switch {
		case moves:
			out = append(out, message{kind: msgUpdate, relID: 1, oldKind: 'K', old: text(from), new: text(to)})
		case strings.HasPrefix(k, "-"):
			out = append(out, message{kind: msgDelete, relID: 1, oldKind: 'K', old: text(k[1:])})
		case strings.HasPrefix(k, "other:"):
			out = append(out, message{kind: msgInsert, relID: 2, new: text(k[6:])})
		default:
			out = append(out, message{kind: msgInsert, relID: 1, new: text(k)})
		}
	}
	return append(out, message{kind: msgCommit, time: time})
}

func relationMessage(id uint32, name string) message {
	return message{kind: msgRelation, rel: &relation{
		id: id, table: topology.TableName{Schema: "public", Name: name}, columns: []relColumn{{name: "k", key: true}},
	}}
}

// TestReplayFilters has F = n1 at S = n2, a gap of (100, 200] and T's progress at
// 150 after an earlier attempt.
func TestReplayFilters(t *testing.T) {
	table1 := topology.TableName{Schema: "public", Name: "t"}
	for name, c := range map[string]struct {
		stream    [][]message
		committed bool
		applied   []string
		touched   string
		fails     string
	}{
		"the gap, and of it what is missing": {
			stream:  [][]message{tx("F", 100, 1, "a"), tx("F", 120, 2, "b"), tx("F", 160, 3, "c"), tx("F", 200, 4, "d"), tx("F", 210, 5, "e")},
			applied: []string{"begin 160 at 3", "I c", "commit", "begin 200 at 4", "I d", "commit"},
			touched: "b:true c:true d:true",
		},
		"other origins and the source's own are not carried": {
			stream:  [][]message{tx("", 0, 1, "a"), tx("G", 160, 2, "b"), tx("F", 160, 3, "c")},
			applied: []string{"begin 160 at 3", "I c", "commit"},
			touched: "c:true",
		},
		"tables that T does not have from F are left out": {
			stream: [][]message{tx("F", 160, 3, "other:x"), tx("F", 170, 4, "other:x", "c")},
			// A transaction without changes for T is not begun.
			applied: []string{"commit", "begin 170 at 4", "I c", "commit"},
			touched: "c:true",
		},
		"deletions of touched rows are remembered with their authors": {
			stream: [][]message{
				tx("", 0, 1, "-a"), tx("F", 160, 2, "a", "b", "c"), tx("", 0, 3, "-a"), tx("G", 9, 4, "-b"), tx("", 0, 5, "-x"),
			},
			applied: []string{"begin 160 at 2", "I a", "I b", "I c", "commit"},
			touched: "a:true@3n2 b:true@4n3 c:true",
		},
		"a row that is moved on is followed": {
			stream:  [][]message{tx("F", 160, 2, "a"), tx("", 0, 3, "a>b"), tx("", 0, 4, "b>c")},
			applied: []string{"begin 160 at 2", "I a", "commit"},
			touched: "a:true@3n2 b:false@4n2 c:false",
		},
		"F's own deletion counts until F writes the row again": {
			stream:  [][]message{tx("F", 160, 2, "-a", "-b"), tx("F", 170, 3, "a"), tx("F", 180, 4, "a>c")},
			applied: []string{"begin 160 at 2", "D a", "D b", "commit", "begin 170 at 3", "I a", "commit", "begin 180 at 4", "U a", "commit"},
			touched: "a:true@4n1 b:false@2n1 c:false",
		},
		"a transaction at the progress that was committed": {
			stream: [][]message{tx("F", 150, 2, "a")}, committed: true, touched: "a:true",
		},
		"a transaction at the progress that was not": {
			stream:  [][]message{tx("F", 150, 2, "a")},
			applied: []string{"begin 150 at 2", "I a", "commit"}, touched: "a:true",
		},
		"positions that come twice": {
			stream: [][]message{tx("F", 160, 2), tx("F", 160, 3)}, fails: "used twice",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{messages: []message{relationMessage(1, "t"), relationMessage(2, "other")}}
			for _, m := range c.stream {
				s.messages = append(s.messages, m...)
			}
			gap := Gap{
				Origin: "n1", Source: "n2", SourceOrigin: "F", Floor: 100, Watermark: 200,
				Tables: []topology.TableName{table1}, Authors: map[string]string{"F": "n1", "G": "n3"},
			}
			r := newReplay(gap, "n3", 150, s, func(_ context.Context, name topology.TableName) (*table, error) {
				return &table{name: name, columns: []column{{name: "k"}}, keys: []uniqueIndex{{columns: []keyColumn{{name: "k"}}}}}, nil
			})
			r.committed = func(context.Context, int64, int) (bool, error) { return c.committed, nil }
			err := r.run(t.Context(), s)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("error is %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.applied, s.applied); diff != "" {
				t.Errorf("applied (-want +got):\n%s", diff)
			}
			var parts []string
			r.touched.settle()
			for k, e := range sorted(r.touched.tables[table1]) {
				part := fmt.Sprintf("%s:%v", k, e.inserted)
				if e.tomb != nil {
					part += fmt.Sprintf("@%d%s", e.tomb.at, e.tomb.author)
				}
				parts = append(parts, part)
			}
			if diff := cmp.Diff(c.touched, strings.Join(parts, " ")); diff != "" {
				t.Errorf("touched (-want +got):\n%s", diff)
			}
		})
	}
}

// sorted yields a table's touches in the order of their keys.
func sorted(tab *touchedTable) iter.Seq2[string, *touch] {
	return func(yield func(string, *touch) bool) {
		if tab == nil {
			return
		}
		for _, id := range slices.Sorted(maps.Keys(tab.keys)) {
			if !yield(strings.Join(decodeKey(id), ","), tab.keys[id]) {
				return
			}
		}
	}
}
