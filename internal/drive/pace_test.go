package drive

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"healer/executor"
	"healer/planner"
	"healer/topology"
)

// TestPace follows the steps of a run, and a gap that is carried to its end.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, broken := topology.LSN(1000), error(nil)
		p := &pace{
			Recorder: nobody{}, running: map[string]under{},
			progress: func(_ context.Context, node string) (topology.LSN, error) {
				if node != "n3" {
					t.Errorf("%s was asked", node)
				}
				return at, broken
			},
		}
		record := func(kind executor.EntryKind, s planner.Step) {
			t.Helper()
			if err := p.Record(executor.Entry{Event: kind, Step: &s}); err != nil {
				t.Fatal(err)
			}
		}
		says := func(want string) {
			t.Helper()
			if got := p.line(0, false); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		says("")
		fence := planner.Step{ID: "a", Kind: planner.StepFence, Node: "n2"}
		carry := planner.Step{ID: "b", Kind: planner.StepSubscribe, Node: "n2", Target: "n3"}
		record(executor.EntryIntent, fence)
		time.Sleep(3 * time.Second)
		says("fence n2 3s")
		if err := p.Record(executor.Entry{Event: executor.EntryBegin, Plan: &planner.Plan{
			Steps: []planner.Step{fence, carry}, Lanes: []planner.Lane{{Source: "n2", Target: "n3", From: 1000, To: 1000 + 4096}},
		}}); err != nil {
			t.Fatal(err)
		}
		record(executor.EntryIntent, carry)
		says("fence n2 3s; subscribe n2->n3  0% of 4.0 KiB (4096 bytes)")
		record(executor.EntryStep, fence)
		time.Sleep(10 * time.Second)
		at = 1000 + 1024
		says("subscribe n2->n3 25% of 4.0 KiB (4096 bytes), 30s left")
		broken = errors.New("away")
		says("subscribe n2->n3 10s")
		record(executor.EntryStep, carry)
		says("")
	})
}
