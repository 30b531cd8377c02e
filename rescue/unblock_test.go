package rescue

import "testing"

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
			// Under Stop no comparison puts back what is later than the row that comes.
			if _, yes := Stop.remains(m, "n1"); yes && !comes.after(c.has.stamp) && c.has.stamp != comes {
				t.Error("conflicts stop, and the last version goes")
			}
		})
	}
}
