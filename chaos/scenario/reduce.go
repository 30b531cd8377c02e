package scenario

import (
	"context"
	"slices"
)

// Reduce looks for a shorter schedule that still fails, within so many trials: first
// without halves of the faults, at last without single ones. fails runs a candidate;
// whoever runs it repeats what does not fail each time.
func Reduce(ctx context.Context, s *Scenario, trials int, fails func(context.Context, *Scenario) bool) *Scenario {
	best := s
	try := func(c *Scenario) bool {
		if trials <= 0 || ctx.Err() != nil || len(c.Schedule) == 0 {
			return false
		}
		trials--
		if !fails(ctx, c) {
			return false
		}
		best = c
		return true
	}
	for size := (len(best.Schedule) + 1) / 2; size >= 1; size /= 2 {
		for at := 0; at < len(best.Schedule); {
			if !try(best.without(at, size)) {
				at += size
			}
		}
	}
	return best
}

// without is the scenario without some of its faults.
func (s *Scenario) without(at, count int) *Scenario {
	c := *s
	c.Schedule = slices.Delete(slices.Clone(s.Schedule), at, min(at+count, len(s.Schedule)))
	return &c
}
