package sim_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"healer/detector/gossip/sim"
)

// try runs one cluster in a bubble of its own.
func try(t *testing.T, s sim.Setup) sim.Outcome {
	t.Helper()
	var out sim.Outcome
	synctest.Test(t, func(t *testing.T) {
		var err error
		if out, err = sim.Run(t.Context(), s); err != nil {
			t.Errorf("%s, %d members, loss %v, seed %d: %v", s.System, s.Members, s.Loss, s.Seed, err)
		}
	})
	return out
}

// In small clusters nobody who lives is ever taken for failed, whatever is lost and
// whoever is paused, and whoever ends is noticed within the bounds.
func TestSmallClusters(t *testing.T) {
	for _, c := range []struct {
		members, crashes int
		loss             float64
		seed             uint64
		pauses           []time.Duration
	}{
		{members: 3, seed: 1, pauses: []time.Duration{time.Second, 10 * time.Second}},
		{members: 3, loss: 0.2, seed: 2, pauses: []time.Duration{2 * time.Second}},
		{members: 3, loss: 0.2, seed: 3, pauses: []time.Duration{5 * time.Second}},
		{members: 5, crashes: 1, seed: 4, pauses: []time.Duration{2 * time.Second}},
		{members: 5, crashes: 1, loss: 0.2, seed: 5, pauses: []time.Duration{5 * time.Second}},
		{members: 9, loss: 0.2, seed: 6, pauses: []time.Duration{2 * time.Second}},
	} {
		t.Run(fmt.Sprintf("%d members loss %v seed %d", c.members, c.loss, c.seed), func(t *testing.T) {
			t.Parallel()
			out := try(t, sim.Setup{
				System: sim.Healer, Members: c.members, Loss: c.loss, Latency: time.Millisecond, Seed: c.seed,
				Kills: 1, Crashes: c.crashes, Quiet: time.Second, Settle: 3 * time.Second, Pauses: c.pauses,
			})
			if out.Wrong != 0 || out.Missed != 0 {
				t.Errorf("%d wrong verdicts, %d ends not noticed", out.Wrong, out.Missed)
			}
			for length, taken := range out.PausesTaken {
				t.Errorf("%d pauses of %s were taken for a failure", taken, length)
			}
			if len(out.KillAll) != c.members-1 || slices.Max(out.KillAll) > 500*time.Millisecond {
				t.Errorf("a kill was noticed after %v", out.KillAll)
			}
			if c.crashes > 0 && slices.Max(out.CrashAll) > 6*time.Second {
				t.Errorf("the end of a host was noticed after %v", out.CrashAll)
			}
		})
	}
}

// What the figures beside Healer's rest on: bare memberlist notices an end, and takes
// a long pause for one.
func TestPlainMemberlist(t *testing.T) {
	t.Parallel()
	out := try(t, sim.Setup{
		System: sim.Tuned, Members: 5, Latency: time.Millisecond, Seed: 1, Crashes: 1, Quiet: 5 * time.Second, Settle: 10 * time.Second,
		Pauses: []time.Duration{10 * time.Second},
	})
	if len(out.CrashAll) != 4 || out.PausesTaken[10*time.Second] != 1 || out.Sent.Messages == 0 {
		t.Errorf("outcome %+v", out)
	}
}
