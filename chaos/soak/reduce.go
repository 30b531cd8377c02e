package soak

import (
	"context"
	"fmt"
	"io"
	"slices"

	"healer/chaos/check"
	"healer/chaos/report"
	"healer/chaos/scenario"
)

// repeats is how often a candidate is tried before it counts as one that does not fail.
const repeats = 2

// reducer looks for a shorter schedule that fails as well.
type reducer struct {
	// play runs a scenario; runs is how many runs are left.
	play func(context.Context, *scenario.Scenario) (report.Result, error)
	runs int
	out  io.Writer
}

// reduce is the shortest scenario that was found to break one of the promises that were
// broken; the given one when there is none, or when nothing was broken.
func (r *reducer) reduce(ctx context.Context, s *scenario.Scenario, broken []check.Violation) *scenario.Scenario {
	if len(broken) == 0 {
		return s
	}
	short := scenario.Reduce(ctx, s, r.runs, func(ctx context.Context, c *scenario.Scenario) bool {
		for range repeats {
			if r.breaks(ctx, c, broken) {
				return true
			}
		}
		return false
	})
	if len(short.Schedule) < len(s.Schedule) {
		short.Name += "-reduced"
	}
	return short
}

// breaks reports whether a run of the scenario breaks one of the promises. One that was
// interrupted, or could not be made, breaks none.
func (r *reducer) breaks(ctx context.Context, s *scenario.Scenario, broken []check.Violation) bool {
	if r.runs == 0 || ctx.Err() != nil {
		return false
	}
	r.runs--
	line, err := r.play(ctx, s)
	if err != nil || ctx.Err() != nil {
		return false
	}
	again := slices.ContainsFunc(line.Violations, func(v check.Violation) bool {
		return slices.ContainsFunc(broken, func(b check.Violation) bool { return b.Checker == v.Checker })
	})
	fmt.Fprintf(r.out, "  reducing %s: %d faults, it fails: %v\n", s.Name, len(s.Schedule), again)
	return again
}
