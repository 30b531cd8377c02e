package soak

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"healer/chaos/scenario"
	"healer/events"
)

// TestStageWaits: what is expected counts also when it comes after the cluster was at
// rest; what does not come in time, or never must, is unmet.
func TestStageWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after time.Duration
		never []string
		want  []string
	}{
		"late":     {after: 50 * time.Second},
		"too late": {after: 70 * time.Second, want: []string{"there was no recovery.refused", "nothing was refused as behind_watermark"}},
		"unwanted": {after: time.Second, never: []string{"recovery.refused"}, want: []string{"there were 1 recovery.refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var hear func(events.Event)
				var late *time.Timer
				got, err := Stage(t.Context(), &Site{
					Follow: func(told func(events.Event)) (func(), error) {
						hear = told
						return func() {}, nil
					},
					Rest: func(context.Context) {
						late = time.AfterFunc(c.after, func() { hear(refusal("a", "behind_watermark")) })
					},
					Patience: time.Minute,
				}, &scenario.Scenario{Expect: scenario.Expect{
					Events: []string{"recovery.refused"}, Refused: []string{"behind_watermark"}, Never: c.never,
				}})
				late.Stop()
				if err != nil || !slices.Equal(got.Unmet, c.want) {
					t.Errorf("unmet is %q (%v), want %q", got.Unmet, err, c.want)
				}
			})
		})
	}
}
