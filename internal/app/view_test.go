package app

import (
	"testing"
	"time"

	"healer/api"
	"healer/planner"
)

// What another agent was refused is shown as long as the same plan is asked for and this
// agent sees neither an obstacle of its own nor that nothing is to be done.
func TestRefusalsOfOthers(t *testing.T) {
	t.Parallel()
	trigger := planner.Trigger{Kind: planner.Recovery, Node: "n1", Incarnation: "life.2"}
	id := trigger.PlanID("app")
	busy := planner.Plan{ID: id, Node: "n1", Steps: []planner.Step{{Kind: planner.StepFence}}}
	locked := api.Refusal{Subject: "n1", Reason: "table_locked", Recovery: id, By: "n2"}
	earlier := locked
	earlier.Recovery = planner.Trigger{Kind: trigger.Kind, Node: "n1", Incarnation: "life.1"}.PlanID("app")
	lost := &planner.Refusal{Reason: planner.NoMajority}
	for _, c := range []struct {
		name   string
		do     func(v *view)
		reason string
	}{
		{"heard", func(v *view) { v.hear(locked); v.stand(busy, nil, time.Time{}) }, "table_locked"},
		{"of an earlier loss", func(v *view) { v.hear(earlier) }, ""},
		{"seen itself", func(v *view) { v.hear(locked); v.stand(busy, lost, time.Time{}) }, "no_majority"},
		{"seen no more", func(v *view) { v.hear(locked); v.stand(busy, lost, time.Time{}); v.stand(busy, nil, time.Time{}) }, "table_locked"},
		{"nothing to do", func(v *view) { v.hear(locked); v.stand(planner.Plan{ID: id, Node: "n1"}, nil, time.Time{}) }, ""},
		{"it goes on", func(v *view) { v.hear(locked); v.unhear("n1") }, ""},
		{"this agent acts now", func(v *view) { v.hear(locked); v.refuse(busy, nil, time.Time{}) }, ""},
		{"nothing is asked for", func(v *view) { v.hear(locked); v.keepRefusals("app", nil) }, ""},
	} {
		v := newView()
		v.keepRefusals("app", []planner.Trigger{trigger})
		c.do(v)
		_, _, _, _, got := v.snapshot()
		switch {
		case c.reason == "" && len(got) == 0:
		case len(got) == 1 && got[0].Reason == c.reason:
		default:
			t.Errorf("%s: %+v, want %q", c.name, got, c.reason)
		}
	}
}
