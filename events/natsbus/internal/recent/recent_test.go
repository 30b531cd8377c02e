package recent_test

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"healer/events/natsbus/internal/recent"
)

// A set of n remembers exactly the n ids that were new last.
func TestSetRemembersTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "n")
		s := recent.New(n)
		var last []string
		for range rapid.IntRange(0, 40).Draw(t, "adds") {
			id := strconv.Itoa(rapid.IntRange(0, 9).Draw(t, "id"))
			known := false
			for _, l := range last {
				known = known || l == id
			}
			if s.Has(id) != known || s.Add(id) == known {
				t.Fatalf("id %s with %v remembered", id, last)
			}
			if !known {
				last = append(last, id)
				last = last[max(0, len(last)-n):]
			}
		}
		for i := range 10 {
			id, want := strconv.Itoa(i), false
			for _, l := range last {
				want = want || l == id
			}
			if s.Has(id) != want {
				t.Fatalf("has %s: %v, remembered %v", id, !want, last)
			}
		}
	})
}
