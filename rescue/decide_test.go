package rescue

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func at(t int64, author string) stamp { return stamp{at: t, author: author} }

func row(digest string, s stamp) version { return version{present: true, digest: digest, stamp: s} }

// TestDecide has three survivors, n2 to n4; n1 is lost and its gap spans the times
// 10 to 20.
func TestDecide(t *testing.T) {
	names := []string{"n2", "n3", "n4"}
	lost := map[string]span{"n1": {first: 10, last: 20}}
	gone := version{}
	tomb := func(s stamp) *touch { return &touch{tomb: &s} }
	for name, c := range map[string]struct {
		versions []version
		seen     []stamp
		touch    *touch
		want     verdict
	}{
		"later timestamp wins": {
			[]version{row("a", at(11, "n1")), row("b", at(12, "n2")), row("a", at(11, "n1"))},
			nil, &touch{},
			verdict{1, at(12, "n2"), []int{0, 2}},
		},
		"greater author wins a tie": {
			[]version{row("a", at(12, "n3")), row("b", at(12, "n2")), row("b", at(12, "n2"))},
			nil, &touch{},
			verdict{0, at(12, "n3"), []int{1, 2}},
		},
		"a known time wins against an unknown one": {
			[]version{row("a", at(unknownTime, "")), row("b", at(1, "n2")), row("b", at(1, "n2"))},
			nil, &touch{},
			verdict{1, at(1, "n2"), []int{0}},
		},
		"a later deletion wins": {
			[]version{gone, row("a", at(11, "n1")), gone},
			nil, tomb(at(12, "n2")),
			verdict{-1, at(12, "n2"), []int{1}},
		},
		"an earlier deletion loses": {
			[]version{gone, row("a", at(13, "n3")), gone},
			nil, tomb(at(12, "n1")),
			verdict{1, at(13, "n3"), []int{0, 2}},
		},
		"a row of the gap that a survivor lacks was deleted there": {
			[]version{row("a", at(11, "n1")), gone, row("a", at(11, "n1"))},
			nil, &touch{inserted: true},
			verdict{-1, at(11, "n3"), []int{0, 2}},
		},
		"a source that lacks the row has deleted it": {
			[]version{gone, row("a", at(11, "n1")), row("a", at(11, "n1"))},
			nil, &touch{holders: []string{"n2"}},
			verdict{-1, at(11, "n2"), []int{1, 2}},
		},
		"an updated row that the laggard lacks stays": {
			[]version{row("a", at(11, "n1")), gone, row("a", at(11, "n1"))},
			nil, &touch{holders: []string{"n2"}},
			verdict{0, at(11, "n1"), []int{1}},
		},
		"another node's row stays": {
			[]version{row("a", at(11, "n2")), gone, row("a", at(11, "n2"))},
			nil, &touch{inserted: true},
			verdict{0, at(11, "n2"), []int{1}},
		},
		"a row of the lost node from outside the gap stays": {
			[]version{row("a", at(9, "n1")), gone, gone},
			nil, &touch{inserted: true},
			verdict{0, at(9, "n1"), []int{1, 2}},
		},
		"what was seen with this version has deleted it": {
			[]version{row("a", at(30, "n2")), gone, row("a", at(30, "n2"))},
			[]stamp{at(30, "n2"), at(30, "n2"), at(30, "n2")},
			&touch{},
			verdict{-1, at(30, "n3"), []int{0, 2}},
		},
		"what was seen with an older version lacks the newer": {
			[]version{row("a", at(31, "n2")), gone, row("a", at(31, "n2"))},
			[]stamp{at(31, "n2"), at(30, "n2"), at(31, "n2")},
			&touch{},
			verdict{0, at(31, "n2"), []int{1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := c.seen
			if seen == nil {
				seen = make([]stamp, 3)
			}
			got := LastUpdateWins.decide(situation{c.versions, names, seen, c.touch, lost})
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(verdict{}, stamp{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecideMakesEqual: whatever the versions, writing the verdict makes them
// equal, touches no equal row, and never takes an older row over a newer one.
func TestDecideMakesEqual(t *testing.T) {
	names := []string{"n2", "n3", "n4", "n5"}
	drawStamp := rapid.Custom(func(t *rapid.T) stamp {
		return at(rapid.Int64Range(1, 5).Draw(t, "at"), rapid.SampledFrom(names).Draw(t, "author"))
	})
	rapid.Check(t, func(t *rapid.T) {
		versions := make([]version, rapid.IntRange(2, 4).Draw(t, "n"))
		for i := range versions {
			if rapid.Bool().Draw(t, "present") {
				s := drawStamp.Draw(t, "stamp")
				versions[i] = row(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "digest"), s)
			}
		}
		e := &touch{inserted: rapid.Bool().Draw(t, "inserted")}
		if rapid.Bool().Draw(t, "deleted") {
			s := drawStamp.Draw(t, "tomb")
			e.tomb = &s
		}
		if equal(versions) {
			return
		}
		d := LastUpdateWins.decide(situation{versions, names[:len(versions)], make([]stamp, len(versions)), e, map[string]span{"n2": {first: 2, last: 4}}})
		result := slices.Clone(versions)
		for _, i := range d.losers {
			if result[i] = (version{}); d.winner >= 0 {
				result[i] = versions[d.winner]
			}
		}
		if !equal(result) {
			t.Fatalf("verdict %+v leaves %+v", d, result)
		}
		for _, v := range versions {
			if d.winner >= 0 && v.present && v.stamp.after(d.by) {
				t.Fatalf("%+v won over the later %+v", d, v)
			}
		}
	})
}

// TestKeyEncoding: keys are equal exactly when their encodings are.
func TestKeyEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.SliceOfN(rapid.StringOfN(rapid.SampledFrom([]rune{'a', 'b', 0, 1, 'é'}), 0, 4, -1), 1, 3)
		a, b := Key(draw.Draw(t, "a")), Key(draw.Draw(t, "b"))
		if got := decodeKey(a.encode()); !slices.Equal(got, a) {
			t.Fatalf("%q came back as %q", a, got)
		}
		if slices.Equal(a, b) != (a.encode() == b.encode()) {
			t.Fatalf("%q and %q", a, b)
		}
	})
}
