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
		"of one write the source has the whole row": {
			[]version{row("a", at(30, "n3")), row("b", at(30, "n3")), row("c", at(30, "n3"))},
			nil, &touch{holders: []string{"n2"}},
			verdict{0, at(30, "n3"), []int{1, 2}},
		},
		"and of two sources its author": {
			[]version{row("b", at(30, "n3")), row("a", at(30, "n3")), row("c", at(30, "n3"))},
			nil, &touch{holders: []string{"n2", "n3"}},
			verdict{1, at(30, "n3"), []int{0, 2}},
		},
		"where no source is known, the author has": {
			[]version{row("c", at(30, "n3")), row("a", at(30, "n3")), row("b", at(30, "n3"))},
			nil, &touch{},
			verdict{1, at(30, "n3"), []int{0, 2}},
		},
		"where the author is not asked either, the contents decide": {
			[]version{row("b", at(30, "n9")), row("c", at(30, "n9")), row("a", at(30, "n9"))},
			nil, &touch{},
			verdict{1, at(30, "n9"), []int{0, 2}},
		},
		"a source with an older write loses all the same": {
			[]version{row("a", at(30, "n3")), row("b", at(31, "n3")), row("b", at(31, "n3"))},
			nil, &touch{holders: []string{"n2"}},
			verdict{1, at(31, "n3"), []int{0}},
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
		"it has so when the log shows an earlier deletion, too": {
			[]version{row("a", at(30, "n2")), gone, row("a", at(30, "n2"))},
			[]stamp{at(30, "n2"), at(30, "n2"), at(30, "n2")},
			tomb(at(12, "n1")),
			verdict{-1, at(30, "n3"), []int{0, 2}},
		},
		"a row of the gap that a survivor lacks was not deleted there when an earlier deletion explains it": {
			[]version{row("a", at(15, "n1")), gone, row("a", at(15, "n1"))},
			nil, &touch{inserted: true, tomb: &stamp{at: 12, author: "n3"}},
			verdict{0, at(15, "n1"), []int{1}},
		},
		"what lost its unique value to another row goes": {
			[]version{row("a", at(11, "n1")), gone, row("a", at(11, "n1"))},
			nil, &touch{inserted: true, lost: &defeat{write: at(11, "n1"), to: at(12, "n3")}},
			verdict{-1, at(12, "n3"), []int{0, 2}},
		},
		"an older version takes its place": {
			[]version{row("a", at(11, "n1")), row("b", at(5, "n2")), row("a", at(11, "n1"))},
			nil, &touch{lost: &defeat{write: at(11, "n1"), to: at(12, "n3")}},
			verdict{1, at(5, "n2"), []int{0, 2}},
		},
		"it goes where nobody has another": {
			[]version{row("a", at(11, "n1")), row("a", at(11, "n1")), row("a", at(11, "n1"))},
			nil, &touch{lost: &defeat{write: at(11, "n1"), to: at(12, "n3")}},
			verdict{-1, at(12, "n3"), []int{0, 1, 2}},
		},
		"a later write of the row stays, though the first was kept off": {
			[]version{row("b", at(13, "n1")), gone, row("b", at(13, "n1"))},
			nil, &touch{inserted: true, lost: &defeat{to: at(12, "n3")}},
			verdict{0, at(13, "n1"), []int{1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := c.seen
			if seen == nil {
				seen = make([]stamp, 3)
			}
			got := LastUpdateWins.decide(situation{versions: c.versions, names: names, seen: seen, touch: c.touch, lost: lost, sources: c.touch.holders})
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(verdict{}, stamp{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecideByPolicy has n2 and n3 surviving; the gap of n1 spans the times 10 to 20.
func TestDecideByPolicy(t *testing.T) {
	gone := version{}
	for name, c := range map[string]struct {
		n2, n3 version
		tomb   *stamp
		// want is the winner by policy: an index, -1 for the deletion.
		want map[Resolution]int
	}{
		"the gap's row against a later one of another's": {
			row("gap", at(11, "n1")), row("other", at(12, "n2")), nil,
			map[Resolution]int{LastUpdateWins: 1, ApplyRemote: 0, KeepLocal: 1, FirstUpdateWins: 0},
		},
		"the gap's row against an earlier one": {
			row("gap", at(11, "n1")), row("other", at(9, "n2")), nil,
			map[Resolution]int{LastUpdateWins: 0, ApplyRemote: 0, KeepLocal: 1, FirstUpdateWins: 1},
		},
		"what a survivor wrote over the gap's row is no conflict": {
			row("home", at(12, "n2")), row("gap", at(11, "n1")), nil,
			map[Resolution]int{LastUpdateWins: 0, ApplyRemote: 0, KeepLocal: 0, FirstUpdateWins: 0},
		},
		"a row of the lost node from before the gap is like any other": {
			row("old", at(9, "n1")), row("other", at(8, "n2")), nil,
			map[Resolution]int{LastUpdateWins: 0, ApplyRemote: 0, KeepLocal: 0, FirstUpdateWins: 1},
		},
		"a row of unknown age loses": {
			row("gap", at(11, "n1")), row("old", at(unknownTime, "")), nil,
			map[Resolution]int{LastUpdateWins: 0, ApplyRemote: 0, KeepLocal: 0, FirstUpdateWins: 0},
		},
		"the gap's deletion against a later row": {
			gone, row("other", at(12, "n2")), &stamp{at: 11, author: "n1"},
			map[Resolution]int{LastUpdateWins: 1, ApplyRemote: -1, KeepLocal: 1, FirstUpdateWins: -1},
		},
		"the gap's deletion against an earlier row": {
			gone, row("other", at(9, "n2")), &stamp{at: 11, author: "n1"},
			map[Resolution]int{LastUpdateWins: -1, ApplyRemote: -1, KeepLocal: 1, FirstUpdateWins: 1},
		},
		"another's deletion against the gap's row": {
			row("gap", at(11, "n1")), gone, &stamp{at: 12, author: "n3"},
			map[Resolution]int{LastUpdateWins: -1, ApplyRemote: 0, KeepLocal: -1, FirstUpdateWins: 0},
		},
		"the source's own deletion follows the gap's row": {
			gone, row("gap", at(11, "n1")), &stamp{at: 12, author: "n2"},
			map[Resolution]int{LastUpdateWins: -1, ApplyRemote: -1, KeepLocal: -1, FirstUpdateWins: -1},
		},
		"one write is one claim, whoever has it: the source has the whole row": {
			row("whole", at(12, "n3")), row("old value", at(12, "n3")), nil,
			map[Resolution]int{LastUpdateWins: 0, ApplyRemote: 0, KeepLocal: 0, FirstUpdateWins: 0},
		},
		"among survivors the later one wins": {
			row("a", at(30, "n3")), row("b", at(31, "n2")), nil,
			map[Resolution]int{LastUpdateWins: 1, ApplyRemote: 1, KeepLocal: 1, FirstUpdateWins: 0},
		},
	} {
		for policy, want := range c.want {
			t.Run(string(policy)+"/"+name, func(t *testing.T) {
				got := policy.decide(situation{
					versions: []version{c.n2, c.n3}, names: []string{"n2", "n3"}, seen: make([]stamp, 2),
					touch: &touch{tomb: c.tomb, holders: []string{"n2"}}, sources: []string{"n2"},
					lost: map[string]span{"n1": {first: 10, last: 20}},
				})
				if got.winner != want {
					t.Errorf("verdict %+v, want winner %d", got, want)
				}
			})
		}
	}
}

// drawSituation draws what the survivors of n1 and perhaps n9 may have.
func drawSituation(t *rapid.T) situation {
	names := []string{"n2", "n3", "n4", "n5"}
	authors := append([]string{"n1", "n9", ""}, names...)
	drawStamp := rapid.Custom(func(t *rapid.T) stamp {
		if rapid.IntRange(0, 9).Draw(t, "known") == 0 {
			return stamp{at: unknownTime}
		}
		return at(rapid.Int64Range(1, 5).Draw(t, "at"), rapid.SampledFrom(authors).Draw(t, "author"))
	})
	n := rapid.IntRange(2, 4).Draw(t, "n")
	s := situation{
		versions: make([]version, n), names: names[:n], seen: make([]stamp, n),
		touch: &touch{inserted: rapid.Bool().Draw(t, "inserted")},
		lost:  map[string]span{"n1": {first: 2, last: 4}},
	}
	if rapid.Bool().Draw(t, "two lost") {
		s.lost["n9"] = span{first: 1, last: 3}
	}
	for i, name := range s.names {
		if rapid.Bool().Draw(t, "present") {
			s.versions[i] = row(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "digest"), drawStamp.Draw(t, "stamp"))
			s.seen[i] = s.versions[i].stamp
		} else if rapid.Bool().Draw(t, "seen") {
			s.seen[i] = drawStamp.Draw(t, "seen")
		}
		if rapid.Bool().Draw(t, "holds") {
			s.touch.holders = append(s.touch.holders, name)
		}
	}
	s.sources = s.touch.holders
	if rapid.Bool().Draw(t, "deleted") {
		by := drawStamp.Draw(t, "tomb")
		s.touch.tomb = &by
	}
	if rapid.Bool().Draw(t, "kept off") {
		s.touch.lost = &defeat{write: drawStamp.Draw(t, "lost"), to: drawStamp.Draw(t, "to")}
	}
	return s
}

// carriedOut is what the survivors have when a verdict is written.
func carriedOut(s situation, d verdict) []version {
	result := slices.Clone(s.versions)
	for _, i := range d.losers {
		if result[i] = (version{}); d.winner >= 0 {
			result[i] = s.versions[d.winner]
		}
	}
	return result
}

// TestDecideMakesEqual: whatever the versions and the policy, writing the verdict
// makes them equal; the outcome does not depend on the order in which the survivors
// are listed, so not on who decides either; and it is never a version that another
// one beats by the policy.
func TestDecideMakesEqual(t *testing.T) {
	policies := []Resolution{LastUpdateWins, ApplyRemote, KeepLocal, Stop, ""}
	rapid.Check(t, func(t *rapid.T) {
		s := drawSituation(t)
		if equal(s.versions) {
			return
		}
		policy := rapid.SampledFrom(policies).Draw(t, "policy")
		d := policy.decide(s)
		result := carriedOut(s, d)
		if !equal(result) {
			t.Fatalf("verdict %+v leaves %+v", d, result)
		}
		order := rapid.Permutation([]int{0, 1, 2, 3}[:len(s.names)]).Draw(t, "order")
		other := situation{touch: s.touch, lost: s.lost, sources: s.sources}
		for _, i := range order {
			other.versions = append(other.versions, s.versions[i])
			other.names = append(other.names, s.names[i])
			other.seen = append(other.seen, s.seen[i])
		}
		d2 := policy.decide(other)
		if again := carriedOut(other, d2); again[0].present != result[0].present || again[0].digest != result[0].digest || d2.by != d.by {
			t.Fatalf("verdict %+v gives %+v, and %+v in the order %v gives %+v", d, result[0], d2, order, again[0])
		}
		for i, v := range s.versions {
			if d.winner >= 0 && v.present && policy.claim(s, i).beats(policy.claim(s, d.winner)) {
				t.Fatalf("%+v won over %+v", d, v)
			}
			if d.winner >= 0 && v.present && v.stamp == d.by && s.received(i) > s.received(d.winner) {
				t.Fatalf("%+v won over %+v, which has received more", d, v)
			}
		}
		if policy == LastUpdateWins && d.winner >= 0 {
			for _, v := range s.versions {
				// What had to yield to another row stands behind all, whenever it was written.
				if v.present && !s.touch.beaten(v.stamp) && v.stamp.after(d.by) {
					t.Fatalf("%+v won over the later %+v", d, v)
				}
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
