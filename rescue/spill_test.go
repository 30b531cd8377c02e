package rescue

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/topology"
)

// contents is everything in a set, whether on disk or not.
func contents(t rapid.TB, set *Touched) map[string]string {
	out := map[string]string{}
	for name, tab := range set.tables {
		if err := set.each(tab, func(id string, e *touch) error {
			k := name.String() + fmt.Sprint(decodeKey(id))
			if _, twice := out[k]; twice {
				t.Errorf("%s comes twice", k)
			}
			tomb := "none"
			if e.tomb != nil {
				tomb = fmt.Sprint(*e.tomb)
			}
			out[k] = fmt.Sprint(e.inserted, e.holders, tomb, e.lost != nil)
			if e.lost != nil {
				out[k] += fmt.Sprint(*e.lost)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestSpilledKeysAreThoseInMemory plays one gap to a set in memory and to others
// that have room for a few keys only, so that they spill, and divide their files.
func TestSpilledKeysAreThoseInMemory(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		sets := []*Touched{newTouched()}
		for range 2 {
			sets = append(sets, newTouchedIn(Spill{Dir: dir, Bytes: rapid.IntRange(200, 4000).Draw(t, "bytes")}))
		}
		defer func() {
			for _, s := range sets {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%d files are left", len(left))
			}
		}()
		touchAll(t, sets)
		want := contents(t, sets[0])
		for _, s := range sets[1:] {
			if diff := cmp.Diff(want, contents(t, s)); diff != "" {
				t.Fatalf("the spilled set differs (-memory +spilled):\n%s", diff)
			}
			if s.Len() < len(want) {
				t.Errorf("it counts %d keys of %d", s.Len(), len(want))
			}
		}
		both, err := merge(sets[1:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, contents(t, both)); diff != "" {
			t.Fatalf("the union of equal sets differs (-memory +union):\n%s", diff)
		}
		if err := both.Close(); err != nil {
			t.Error(err)
		}
	})
}

// touchAll makes the same changes to all sets.
func touchAll(t *rapid.T, sets []*Touched) {
	tables := []topology.TableName{{Schema: "public", Name: "a"}, {Schema: "public", Name: "b"}}
	for at := range rapid.IntRange(1, 200).Draw(t, "changes") {
		name := rapid.SampledFrom(tables).Draw(t, "table")
		key := Key{strconv.Itoa(rapid.IntRange(0, 60).Draw(t, "key")), rapid.SampledFrom([]string{"", "x", "\x00"}).Draw(t, "part")}
		kind := rapid.SampledFrom([]string{"insert", "update", "delete", "foreign delete", "kept off"}).Draw(t, "kind")
		by := stamp{at: int64(at) + rapid.Int64Range(-5, 5).Draw(t, "skew"), author: "n1"}
		for _, s := range sets {
			if kind == "foreign delete" {
				by.author = "n3"
				if e := s.find(name, key); e != nil {
					e.deleted(by)
				}
				continue
			}
			s.note(s.table(name, []string{"k", "part"}), []byte(key.encode()), "n2", kind == "insert", kind == "delete", by)
			if kind == "kept off" {
				s.add(name, []string{"k", "part"}, key, "n2").yielded(defeat{write: by, to: stamp{at: by.at + 1, author: "n3"}})
			}
		}
	}
	for _, s := range sets {
		if s.err != nil {
			t.Fatal(s.err)
		}
	}
}

func TestRemoveSpilledTakesOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"touched-1/a", "touched-2/b", "journal/c"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveSpilled(dir); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "journal")}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestSpillSaysWhatIsWrongWithItsDirectory(t *testing.T) {
	s := newTouchedIn(Spill{Dir: filepath.Join(t.TempDir(), "missing"), Bytes: 1})
	for i := range 3 {
		s.add(topology.TableName{Schema: "public", Name: "t"}, []string{"id"}, Key{strconv.Itoa(i)}, "n2")
	}
	if s.err == nil {
		t.Fatal("keys were spilled into a directory that does not exist")
	}
	if err := s.each(s.tables[topology.TableName{Schema: "public", Name: "t"}], func(string, *touch) error { return nil }); err == nil {
		t.Error("the keys are read as if nothing had happened")
	}
}
