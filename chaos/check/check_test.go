package check_test

import (
	"testing"

	"pgregory.net/rapid"

	"healer/chaos/check"
)

type drawn struct{ t *rapid.T }

func (d drawn) upTo(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "dice") }

// TestPerfect: a cluster that keeps its promises has broken none.
func TestPerfect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := perfectRun(drawn{t}, rapid.IntRange(3, 5).Draw(t, "nodes"), rapid.IntRange(0, 25).Draw(t, "transactions"))
		for _, v := range check.Check(r) {
			t.Errorf("%s: %s", v.Checker, v.Detail)
		}
	})
}
