package rescue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestInTheWay has three survivors, n2 to n4; n1 is lost and its gap spans the times 10
// to 20. The workers of n4 fail.
func TestInTheWay(t *testing.T) {
	t.Parallel()
	gone, gap := version{}, row("a", at(11, "n1"))
	for name, c := range map[string]struct {
		versions []version
		touch    touch
		by       stamp // none: it stays
	}{
		"written anew":                           {[]version{row("b", at(12, "n2")), gap, gap}, touch{}, gap.stamp},
		"written anew with the same contents":    {[]version{row("a", at(12, "n2")), gap, gap}, touch{}, gap.stamp},
		"written anew by one that lagged itself": {[]version{gap, row("b", at(12, "n3")), gap}, touch{}, gap.stamp},
		"of two that wrote it anew the later":    {[]version{row("b", at(12, "n2")), row("c", at(13, "n3")), gap}, touch{}, gap.stamp},
		"another one's version, and a later one": {[]version{row("b", at(13, "n2")), row("b", at(13, "n2")), row("c", at(12, "n3"))}, touch{}, at(12, "n3")},
		"another one's version, and an earlier":  {[]version{row("b", at(12, "n2")), row("b", at(12, "n2")), row("c", at(13, "n3"))}, touch{}, stamp{}},
		"deleted by the source":                  {[]version{gone, gap, gap}, touch{inserted: true, holders: []string{"n2"}}, at(11, "n2")},
		"a deletion in the log":                  {[]version{gap, gap, gap}, touch{tomb: &stamp{12, "n3"}}, stamp{}},
		"a deletion in the log, and a lack":      {[]version{gone, gap, gap}, touch{holders: []string{"n2"}, tomb: &stamp{12, "n3"}}, at(12, "n3")},
		"lacking where the gap is still missing": {[]version{gap, gone, gap}, touch{inserted: true, holders: []string{"n2"}}, stamp{}},
		"a later write of the lost node":         {[]version{row("b", at(12, "n1")), gap, gap}, touch{}, stamp{}},
		"equal":                                  {[]version{gap, gap, gap}, touch{inserted: true}, stamp{}},
		"not there":                              {[]version{gap, gap, gone}, touch{inserted: true}, stamp{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := &verifier{touched: newTouched()}
			v.touched.committed("n1", 10)
			v.touched.committed("n1", 20)
			names := []string{"n2", "n3", "n4"}
			on := make([]*replica, len(names))
			for i, n := range names {
				on[i] = &replica{survivor: &survivor{node: n}}
			}
			s := &suspect{table: &compared{on: on, names: names}, touch: &c.touch, versions: c.versions}
			s.seen = make([]stamp, 3)
			by, got := LastUpdateWins.inTheWay(v.testimony(s, 2), "n4", "n1")
			if by != c.by || got != (by != stamp{}) {
				t.Errorf("%v by %v, want by %v", got, by, c.by)
			}
		})
	}
}

// TestInTheWayLosesNothing: what is decided about a row is the same when one version has
// been taken off that was in the way, by whoever knows nothing of that.
func TestInTheWayLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		stamps := rapid.Custom(func(t *rapid.T) stamp {
			return at(rapid.Int64Range(8, 24).Draw(t, "at"), rapid.SampledFrom([]string{"n1", "n2", "n3", "n4"}).Draw(t, "author"))
		})
		s := situation{
			names: []string{"n2", "n3", "n4"}, seen: make([]stamp, 3),
			touch: &touch{inserted: rapid.Bool().Draw(t, "inserted"), holders: []string{"n2"}},
			lost:  map[string]span{"n1": {first: 10, last: 20}},
		}
		contents := map[stamp]string{}
		for range s.names {
			v := version{present: rapid.Bool().Draw(t, "present"), stamp: stamps.Draw(t, "stamp")}
			if contents[v.stamp] == "" { // one write has one outcome
				contents[v.stamp] = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "contents")
			}
			v.digest = contents[v.stamp]
			if !v.present {
				v = version{}
			}
			s.versions = append(s.versions, v)
		}
		if rapid.Bool().Draw(t, "deleted") {
			by := stamps.Draw(t, "tomb")
			s.touch.tomb = &by
		}
		r := rapid.SampledFrom([]Resolution{LastUpdateWins, ApplyRemote, FirstUpdateWins, KeepLocal}).Draw(t, "policy")
		by, yes := r.inTheWay(s, "n4", "n1")
		if !yes {
			return
		}
		before := r.decide(s)
		had := s.versions[2]
		for _, seen := range []stamp{{}, had.stamp} { // another comparison, and the one under way
			s.versions[2], s.seen[2] = version{}, seen
			if !s.versions[0].present && !s.versions[1].present {
				return // gone
			}
			after := r.decide(s)
			if (before.winner < 0) != (after.winner < 0) || after.by != before.by && after.winner >= 0 {
				t.Fatalf("%s: with n4's %+v by %+v: %+v; without it: %+v", r, had, by, before, after)
			}
			if s.touch.tomb == nil || by.after(*s.touch.tomb) { // as n4's log shows it, should it be a source
				shown := *s.touch
				shown.tomb = &by
				logged := s
				logged.touch = &shown
				if d := r.decide(logged); (d.winner < 0) != (before.winner < 0) {
					t.Fatalf("%s: with n4's %+v by %+v: %+v; without it, and with its deletion in the log: %+v", r, had, by, before, d)
				}
			}
		}
	})
}

// TestMeanwhile: who looks is done when the wait ends, and the wait is not held up.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed, looks, under := errors.New("as it ended"), 0, false
		err := Meanwhile(t.Context(), func(context.Context) error {
			<-time.After(3*freeEvery + freeEvery/2)
			return failed
		}, func(ctx context.Context) {
			looks++
			under = true
			<-ctx.Done()
			under = false
		})
		if !errors.Is(err, failed) || looks != 1 || under {
			t.Errorf("it ended with %v after %d looks, one of them still under way: %v", err, looks, under)
		}
	})
}
