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

// Site is a cluster of the user's, in which a scenario is staged.
type Site struct {
	World fault.World
	// Follow passes the cluster's events on. Without them no fault that waits for an
	// event is made.
	Follow func(told func(events.Event)) (stop func(), err error)
	// Rest waits until the cluster is at rest behind the last fault.
	Rest func(context.Context)
	// Patience is how long what the scenario expects may then take to come.
	Patience time.Duration
	// Log gets what happens.
	Log func(format string, args ...any)
}

// Staged is what a performance came to.
type Staged struct {
	Faults []history.FaultRecord `json:"faults"`
	// Skipped are faults that were not made, with the reason.
	Skipped []string `json:"skipped,omitempty"`
	// Events is how many there were of each kind.
	Events map[string]int `json:"events"`
	// Unmet are expectations of events that were not met.
	Unmet []string `json:"unmet,omitempty"`
}

// Stage makes the faults of a scenario in a cluster of the user's, and heals them
// whatever happens: also when ctx ends. Then it waits until the cluster is at rest and
// what the scenario expects has come. The error says what was not made or not healed.
func Stage(ctx context.Context, g *Site, s *scenario.Scenario) (Staged, error) {
	h := newHub()
	stop, err := g.Follow(h.hear)
	if err != nil {
		return Staged{}, err
	}
	defer stop()
	start := time.Now()
	t := newTimeline(g.World, start, h, g.Log)
	t.run(ctx, s.Schedule, DefaultLimits().Vain)
	pause(ctx, time.Until(start.Add(s.Length)))
	skipped, troubles := t.notMade()
	// However it ended, nothing stays broken.
	err = errors.Join(append(troubles, t.heal(context.WithoutCancel(ctx)))...)
	out := Staged{Faults: t.faults(), Skipped: skipped}
	if err == nil {
		g.Rest(ctx)
		wait, cancel := context.WithTimeout(ctx, g.Patience)
		defer cancel()
		out.Unmet = h.awaitAll(wait, s.Expect)
		out.Unmet = append(out.Unmet, s.Expect.Unwanted(h.heard())...)
	}
	out.Events = h.count()
	return out, err
}
