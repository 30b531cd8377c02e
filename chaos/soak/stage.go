package soak

import (
	"context"
	"errors"
	"time"

	"healer/chaos/fault"
	"healer/chaos/history"
	"healer/chaos/scenario"
	"healer/events"
)

// Staged is what a performance came to.
type Staged struct {
	Faults []history.FaultRecord `json:"faults"`
	// Skipped are faults that were not made, with the reason.
	Skipped []string `json:"skipped,omitempty"`
	// Events is how many there were of each kind.
	Events map[string]int `json:"events"`
}

// Stage makes the faults of a scenario in a cluster of the user's, and heals them
// whatever happens: also when ctx ends. follow passes the cluster's events on; without
// them no fault that waits for an event is made. The error says what was not made or
// not healed.
func Stage(ctx context.Context, w fault.World, s *scenario.Scenario, follow func(told func(events.Event)) (stop func(), err error), log func(string, ...any)) (Staged, error) {
	h := newHub()
	stop, err := follow(h.told)
	if err != nil {
		return Staged{}, err
	}
	defer stop()
	start := time.Now()
	t := newTimeline(w, start, h, log)
	t.run(ctx, s.Schedule, DefaultLimits().Vain)
	pause(ctx, time.Until(start.Add(s.Length)))
	skipped, troubles := t.notMade()
	// However it ended, nothing stays broken.
	err = errors.Join(append(troubles, t.heal(context.WithoutCancel(ctx)))...)
	return Staged{Faults: t.faults(), Skipped: skipped, Events: h.count()}, err
}

// count is how many events there were of each kind.
func (h *hub) count() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]int{}
	for _, m := range h.seen {
		out[m.name]++
	}
	return out
}
