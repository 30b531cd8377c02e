package rescue

import (
	"testing"
	"time"
)

// What a node has written and all others lack they have deleted; but not where one of them
// has the row, or another node has written it.
func TestDeletedByAll(t *testing.T) {
	t.Parallel()
	const noon = int64(12 * time.Hour / time.Microsecond)
	v := &verifier{touched: newTouched(), deletions: []Deletion{{
		Holder: "n1", Author: "n1", Of: "n2", All: []string{"n1", "n3"}, At: pgEpoch().Add(12 * time.Hour),
	}}}
	of := func(at int64, author string) version {
		return version{present: true, digest: "a", stamp: stamp{at: at, author: author}}
	}
	gone := version{}
	for name, c := range map[string]struct {
		versions []version
		winner   int
	}{
		"none of the others has it":   {[]version{gone, of(noon-1, "n2"), gone}, -1},
		"it is later than they know":  {[]version{gone, of(noon+1, "n2"), gone}, 1},
		"one has it":                  {[]version{gone, of(noon-1, "n2"), of(noon-1, "n2")}, 1},
		"another node has written it": {[]version{gone, of(noon-1, "n3"), gone}, 1},
	} {
		s := &suspect{table: &compared{names: []string{"n1", "n2", "n3"}}, touch: &touch{}, seen: make([]stamp, 3)}
		if got := v.decide(s, c.versions); got.winner != c.winner {
			t.Errorf("%s: %+v, want winner %d", name, got, c.winner)
		}
	}
}
