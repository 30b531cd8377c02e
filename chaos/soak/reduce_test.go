package soak

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"healer/chaos/check"
	"healer/chaos/fault"
	"healer/chaos/report"
	"healer/chaos/scenario"
)

// TestReducer: of nine faults the two are left that break the promise together, also when
// they do so only every other time; what breaks another promise, cannot be judged or was
// interrupted does not count, and no run is made too many.
func TestReducer(t *testing.T) {
	t.Parallel()
	s := &scenario.Scenario{Name: "nine"}
	for i := range 9 {
		s.Schedule = append(s.Schedule, scenario.Event{At: time.Duration(i) * time.Second, Fault: fault.Fault{Kind: fault.ServerKill}})
	}
	both := func(c *scenario.Scenario) bool {
		return slices.ContainsFunc(c.Schedule, func(e scenario.Event) bool { return e.At == 2*time.Second }) &&
			slices.ContainsFunc(c.Schedule, func(e scenario.Event) bool { return e.At == 7*time.Second })
	}
	missing := []check.Violation{{Checker: "missing", Detail: "a transaction"}}
	tried := 0
	for name, c := range map[string]struct {
		runs   int
		broken []check.Violation
		play   func(*scenario.Scenario) (report.Result, error)
		want   int
	}{
		"always": {100, missing, func(c *scenario.Scenario) (report.Result, error) {
			if both(c) {
				return report.Result{Violations: []check.Violation{{Checker: "equal"}, {Checker: "missing", Detail: "another"}}}, nil
			}
			return report.Result{}, nil
		}, 2},
		"every other time": {100, missing, func(c *scenario.Scenario) (report.Result, error) {
			if both(c) && tried%2 == 0 {
				return report.Result{Violations: missing}, nil
			}
			return report.Result{}, nil
		}, 2},
		"another promise": {100, missing, func(*scenario.Scenario) (report.Result, error) {
			return report.Result{Violations: []check.Violation{{Checker: "settled"}}}, nil
		}, 9},
		"not judged": {100, missing, func(*scenario.Scenario) (report.Result, error) {
			return report.Result{Trouble: "no room"}, nil
		}, 9},
		"not made": {100, missing, func(*scenario.Scenario) (report.Result, error) {
			return report.Result{Violations: missing}, errors.New("no lab")
		}, 9},
		"no runs":        {0, missing, func(*scenario.Scenario) (report.Result, error) { return report.Result{Violations: missing}, nil }, 9},
		"one run":        {1, missing, func(*scenario.Scenario) (report.Result, error) { return report.Result{Violations: missing}, nil }, 4},
		"nothing failed": {100, nil, func(*scenario.Scenario) (report.Result, error) { return report.Result{Violations: missing}, nil }, 9},
	} {
		tried = 0
		r := reducer{runs: c.runs, out: io.Discard, play: func(_ context.Context, s *scenario.Scenario) (report.Result, error) {
			tried++
			return c.play(s)
		}}
		got := r.reduce(t.Context(), s, c.broken)
		if len(got.Schedule) != c.want || tried > c.runs || len(s.Schedule) != 9 || s.Name != "nine" {
			t.Errorf("%s: %d faults are left after %d runs of %d, want %d", name, len(got.Schedule), tried, c.runs, c.want)
		}
		if (got.Name == "nine-reduced") != (c.want < 9) {
			t.Errorf("%s: it is called %s", name, got.Name)
		}
	}
	over, end := context.WithCancel(t.Context())
	r := reducer{runs: 100, out: io.Discard, play: func(context.Context, *scenario.Scenario) (report.Result, error) {
		end()
		return report.Result{Violations: missing}, nil
	}}
	if got := r.reduce(over, s, missing); len(got.Schedule) != 9 || r.runs != 99 {
		t.Errorf("interrupted: %d faults are left after %d runs", len(got.Schedule), 100-r.runs)
	}
}
