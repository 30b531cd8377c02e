package steps

import (
	"testing"
	"time"

	"healer/planner"
)

// A worker is named when it fails again and again, and not for failures of before, for
// single ones, or when it has recovered.
func TestFailingWorkersAreNamed(t *testing.T) {
	t.Parallel()
	f, now := failing{}, time.Now()
	for i, c := range []struct {
		after time.Duration
		count int64
		named bool
	}{
		{0, 40, false}, // of before
		{5 * time.Second, 41, false},
		{5 * time.Second, 42, false},
		{5 * time.Second, 43, true},
		{14 * time.Second, 43, true}, // it may be about to try again
		{1 * time.Second, 43, false}, // it goes on
		{1 * time.Second, 44, false},
		{5 * time.Second, 45, false},
		{5 * time.Second, 46, true},
		{time.Second, 2, false}, // the server was restarted
		{time.Second, 4, false},
		{time.Second, 50, false}, // often, but only now
		{10 * time.Second, 51, true},
	} {
		now = now.Add(c.after)
		r := f.seen("n3", "sub_n3_from_n2", c.count, now)
		if (r != nil) != c.named {
			t.Errorf("%d: %+v", i, r)
		}
		if r != nil && (r.Reason != planner.ApplyFails || r.Node != "n3" || !r.Wait) {
			t.Errorf("%d: %+v", i, r)
		}
		if f.seen("n3", "sub_n3_from_n4", 7, now) != nil || f.seen("n4", "sub_n3_from_n2", 7, now) != nil {
			t.Errorf("%d: another one is named", i)
		}
	}
}
