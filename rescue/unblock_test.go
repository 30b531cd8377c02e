package rescue

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestRemains: n2 writes a row anew at 12, which n3 has; n4 is another survivor and n1
// is lost.
func TestRemains(t *testing.T) {
	t.Parallel()
	comes := at(12, "n2")
	for name, c := range map[string]struct {
		has, theirs version
		had         bool
		contested   bool
		as          stamp // none: it stays
	}{
		"deleted by the provider":              {has: row("a", at(11, "n1")), theirs: row("b", comes), had: true, as: at(11, "n1")},
		"and the provider has deleted it anew": {has: row("a", at(11, "n1")), had: true, as: at(11, "n1")},
		"written side by side":                 {has: row("a", at(11, "n3")), theirs: row("b", comes)},
		"written later by the lost node":       {has: row("a", at(11, "n4")), theirs: row("b", comes), had: true, contested: true},
		"changed on top of it":                 {has: row("c", at(13, "n4")), theirs: row("c", at(13, "n4")), as: comes},
		"changed, and once more":               {has: row("c", at(13, "n4")), theirs: row("d", at(14, "n2")), had: true, as: comes},
		"later, and nowhere else":              {has: row("c", at(13, "n3")), theirs: row("b", comes)},
		"later, and not had, and a later one":  {has: row("c", at(13, "n3")), theirs: row("b", at(14, "n2"))},
		"changed on top of it by the lost":     {has: row("c", at(13, "n1")), theirs: row("c", at(13, "n1")), had: true},
		"given ahead of its time":              {has: row("b", comes), theirs: row("b", comes), had: true, as: comes},
		"a later one of the provider's own":    {has: row("c", at(13, "n2")), theirs: row("c", at(13, "n2")), had: true, as: comes},
		"and the provider has deleted that":    {has: row("c", at(13, "n2")), had: true, as: comes},
		"and the lost node has changed it":     {has: row("c", at(13, "n2")), theirs: row("c", at(13, "n2")), had: true, contested: true},
		"by nobody known":                      {has: row("a", at(11, "")), theirs: row("b", comes), had: true},
		"of unknown time":                      {has: row("a", stamp{at: unknownTime}), theirs: row("b", comes), had: true},
		"not there":                            {theirs: row("b", comes)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := meeting{
				node: "n3", provider: "n2", others: []string{"n4"}, comes: comes,
				has: c.has, theirs: c.theirs, had: c.had, contested: c.contested,
			}
			as, yes := LastUpdateWins.remains(m, "n1")
			if as != c.as || yes != (c.as != stamp{}) {
				t.Errorf("%v as %v, want %v", yes, as, c.as)
			}
			// Under Stop no comparison puts back what is later than the row that comes; the
			// provider's own comes again.
			if _, yes := Stop.remains(m, "n1"); yes && !comes.after(c.has.stamp) && c.has.stamp.author != "n2" {
				t.Error("conflicts stop, and the last version goes")
			}
		})
	}
}

// TestOutlived: n2 writes a row that gets a unique value which another row of n3 has. Of
// that one n2 has had n3's version; n4 is another survivor and n1 is lost.
func TestOutlived(t *testing.T) {
	t.Parallel()
	gone := version{}
	has := row("a", at(11, "n1"))
	for name, c := range map[string]struct {
		theirs, has, others version
		winner              string // the survivor whose version n3 gets
		by                  stamp  // none: it stays
	}{
		"deleted by the provider":                {theirs: gone, has: has, by: at(12, "n2")},
		"and another one has it as well":         {theirs: gone, has: has, others: has, by: at(12, "n2")},
		"and the lost node's name is greater":    {theirs: gone, has: row("a", at(11, "n9")), others: row("a", at(11, "n9")), by: at(12, "n2")},
		"and another one has an older one":       {theirs: gone, has: has, others: row("b", at(10, "n4")), by: at(12, "n2")},
		"deleted, but changed later by another":  {theirs: gone, has: has, others: row("b", at(13, "n4")), winner: "n4", by: at(13, "n4")},
		"deleted, but changed later by the lost": {theirs: gone, has: has, others: row("b", at(13, "n1"))},
		"moved by the provider":                  {theirs: row("b", at(13, "n2")), has: has, winner: "n2", by: at(13, "n2")},
		"moved by another":                       {theirs: row("b", at(13, "n4")), has: has, others: row("b", at(13, "n4")), winner: "n4", by: at(13, "n4")},
		"moved, and once more by another":        {theirs: row("b", at(13, "n2")), has: has, others: row("c", at(14, "n4")), winner: "n4", by: at(14, "n4")},
		"moved by the lost node":                 {theirs: row("b", at(13, "n1")), has: has},
		"still there":                            {theirs: has, has: has},
		"older there":                            {theirs: row("b", at(10, "n2")), has: has},
		"by nobody known":                        {theirs: gone, has: row("a", at(11, ""))},
		"of unknown time":                        {theirs: gone, has: row("a", stamp{at: unknownTime, author: "n1"})},
		"moved by nobody known":                  {theirs: row("b", at(13, "")), has: has},
		"not there":                              {theirs: row("b", at(13, "n2"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := situation{
				names: []string{"n2", "n3", "n4"}, versions: []version{c.theirs, c.has, c.others}, seen: make([]stamp, 3),
				touch: &touch{holders: []string{"n2"}},
			}
			d, yes := LastUpdateWins.outlived(s, "n3", "n2", "n1")
			if yes != (c.by != stamp{}) || yes && (d.by != c.by || d.winner != slices.Index(s.names, c.winner)) {
				t.Errorf("%v: %+v, want %q by %v", yes, d, c.winner, c.by)
			}
			if _, yes := Stop.outlived(s, "n3", "n2", "n1"); yes && c.winner != "" {
				t.Error("conflicts stop, and a row is repaired")
			}
			apart := situation{names: s.names[1:], versions: s.versions[1:], seen: s.seen[1:], touch: s.touch}
			if d, yes := LastUpdateWins.outlived(apart, "n3", "n2", "n1"); yes {
				t.Errorf("%+v, although what the provider has done reaches nobody", d)
			}
		})
	}
}

// TestOutlivedLosesNothing: with the row gone, or replaced, the same is decided about it as
// before, by whoever knows of the deletion and by whoever does not, in whatever order the
// survivors are asked; and the survivor has what would have been decided.
func TestOutlivedLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := situation{names: []string{"n2", "n3", "n4"}, seen: make([]stamp, 3), touch: &touch{holders: []string{"n2"}}}
		contents := map[stamp]string{}
		for range s.names {
			by := at(rapid.Int64Range(8, 14).Draw(t, "at"), rapid.SampledFrom([]string{"n1", "n2", "n3", "n4", "n9"}).Draw(t, "author"))
			if contents[by] == "" { // one write has one outcome
				contents[by] = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "contents")
			}
			v := version{}
			if rapid.Bool().Draw(t, "present") {
				v = row(contents[by], by)
			}
			s.versions = append(s.versions, v)
		}
		r := rapid.SampledFrom([]Resolution{LastUpdateWins, ApplyRemote, FirstUpdateWins, KeepLocal, Stop}).Draw(t, "policy")
		lost := rapid.SampledFrom([]string{"n1", "n9"}).Draw(t, "lost")
		d, yes := r.outlived(s, "n3", "n2", lost)

		turned := s
		turned.names, turned.versions = slices.Clone(s.names), slices.Clone(s.versions)
		slices.Reverse(turned.names)
		slices.Reverse(turned.versions)
		back, same := r.outlived(turned, "n3", "n2", lost)
		if same != yes || yes && (back.by != d.by || (back.winner < 0) != (d.winner < 0)) {
			t.Fatalf("%v %+v, and in the other order %v %+v", yes, d, same, back)
		}
		if !yes {
			return
		}
		had := s.versions[1].stamp
		if theirs := s.versions[0]; theirs.present && !theirs.stamp.after(had) {
			t.Fatalf("the provider has %+v, and %+v goes", theirs, had)
		}
		after := s
		after.versions, after.seen = slices.Clone(s.versions), slices.Clone(s.seen)
		after.seen[0] = had // as the provider has had it
		if d.winner >= 0 {
			if r == Stop || !d.by.after(had) || d.by.author == lost || d.winner == 1 {
				t.Fatalf("%s: %+v for %+v", r, d, had)
			}
			after.versions[1] = s.versions[d.winner]
			if now := r.decide(after); now.winner < 0 || now.by != d.by {
				t.Fatalf("%s: %+v; with that in its place: %+v", r, d, now)
			}
			return
		}
		if slices.ContainsFunc(s.versions, func(v version) bool { return v.present && r == LastUpdateWins && v.stamp.after(had) }) {
			t.Fatalf("%s: %+v, although there is a later one", r, d)
		}
		after.versions[1] = version{}
		if !after.versions[0].present && !after.versions[2].present {
			return // gone
		}
		shown := *s.touch
		shown.tomb = &d.by
		for _, known := range []*touch{s.touch, &shown} {
			for _, seen := range []stamp{{}, had} {
				after.seen[1], after.touch = seen, known
				if now := r.decide(after); now.winner >= 0 {
					t.Fatalf("%s: %+v; without it: %+v", r, d, now)
				}
			}
		}
	})
}

// TestIncomingMeets: a row of the receiver's is not in the way of the one that takes its
// place, nor of what comes behind a change of it in the same transaction.
func TestIncomingMeets(t *testing.T) {
	t.Parallel()
	b := &binding{key: []keyColumn{{name: "id"}}, keyAt: []int{0}, updates: true}
	text := func(values ...string) tuple {
		var out tuple
		for _, v := range values {
			d := datum{kind: datumText, text: []byte(v)}
			if v == "" {
				d = datum{kind: datumNull}
			}
			out = append(out, d)
		}
		return out
	}
	in := &incomingTable{
		b: b, touched: map[string]int{},
		uniques: []otherUnique{{at: []int{1}}, {at: []int{2, 3}}},
	}
	for _, m := range []message{
		{kind: msgUpdate, new: text("1", "7", "a", "b")},
		{kind: msgDelete, old: text("2")},
		{kind: msgInsert, new: text("3", "", "c", "d")},
		{kind: msgUpdate, old: text("4"), new: text("5", "8", "", "e")},
		{kind: msgInsert, new: text("6", "", "", "f")},
	} {
		in.change(m)
	}
	var takes []string
	for _, k := range in.takes {
		met := k.key[0] + ":"
		for _, other := range []string{"1", "2", "3", "4", "5", "6", "9"} {
			if in.meets(k, Key{other}) {
				met += " " + other
			}
		}
		takes = append(takes, met)
	}
	if want := []string{"1: 2 3 4 5 6 9", "3: 4 5 6 9", "5: 6 9"}; !slices.Equal(takes, want) {
		t.Errorf("%q, want %q", takes, want)
	}
	if v := in.takes[1].values; v[0] != nil || !slices.Equal(v[1], Key{"c", "d"}) {
		t.Errorf("%q: want no value for NULL, and those of two columns", v)
	}
	if want := []Key{{"3"}, {"5"}, {"6"}}; !slices.EqualFunc(in.creates, want, slices.Equal) {
		t.Errorf("%q are created, want %q", in.creates, want)
	}
}
