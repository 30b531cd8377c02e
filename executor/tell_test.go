package executor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/events"
	"healer/events/eventstest"
	"healer/planner"
	"healer/topology"
)

// board is a Recorder and a Publisher in memory.
type board struct {
	entries []Entry
	events  []events.Event
	err     error
}

func (b *board) Record(e ...Entry) error {
	b.entries = append(b.entries, e...)
	return b.err
}

func (b *board) Publish(e events.Event) error {
	b.events = append(b.events, e)
	return nil
}

// What the local journal has, the stream has too, even when the disk fails.
func TestToldSaysTheSameTwice(t *testing.T) {
	t.Parallel()
	b := &board{err: errors.New("disk full")}
	told := Told{Local: b, Publisher: b, Cluster: "app"}
	want := Entry{
		Event: EntryAttempt, Seq: 7, At: time.Unix(9, 0).UTC(), Run: "r", Recovery: "p", Agent: "n1", Node: "n3", Incarnation: "i.1",
		Step: &planner.Step{ID: "s", Kind: planner.StepFence}, Error: "refused",
	}
	if err := told.Record(want, want); !errors.Is(err, b.err) {
		t.Errorf("the disk's failure is not told: %v", err)
	}
	if len(b.events) != 2 || b.events[0].ID != b.events[1].ID || b.events[0].Subject != "n3" || b.events[0].Recovery != "p" {
		t.Fatalf("%+v", b.events)
	}
	eventstest.Check(t, b.events[0])
	got, err := EntryFrom(b.events[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := EntryFrom(events.Event{Type: "healer.v1.node.failed"}); err == nil {
		t.Error("another event was read as an entry")
	}
}

// However large an entry is, the stream takes what matters of it.
func TestLargeEntriesAreCutToSize(t *testing.T) {
	t.Parallel()
	var log topology.ConflictLog
	for i := range topology.ListedConflicts {
		log.Add(topology.RowConflict{Kind: "k", Table: "t", Action: "a", Key: map[string]string{"id": strings.Repeat("x", 200) + fmt.Sprint(i)}})
	}
	plan := &planner.Plan{ID: "p", Node: "n3", Survivors: []string{"n1"}}
	for i := range 1000 {
		plan.Steps = append(plan.Steps, planner.Step{ID: fmt.Sprint(i), Before: strings.Repeat("b", 100)})
	}
	for name, e := range map[string]Entry{
		"conflicts": {Event: EntryStep, State: "done", Conflicts: &log},
		"plan":      {Event: EntryBegin, State: "done", Plan: plan},
	} {
		ev, err := entryEvent("app", e)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := EntryFrom(ev)
		if err != nil {
			t.Fatal(err)
		}
		if got.State != "done" || (e.Plan != nil && got.Plan.ID != "p") {
			t.Errorf("%s: %+v", name, got)
		}
		if e.Conflicts != nil && (got.Conflicts.Total() != topology.ListedConflicts || len(got.Conflicts.Rows) < 100) {
			t.Errorf("%s: %d counted, %d listed", name, got.Conflicts.Total(), len(got.Conflicts.Rows))
		}
	}
	if len(plan.Steps) != 1000 || len(log.Rows) != topology.ListedConflicts {
		t.Error("the journal's own entry was cut")
	}
	if _, err := entryEvent("app", Entry{Error: strings.Repeat("x", events.MaxBytes)}); err == nil {
		t.Error("an entry that cannot be cut was told of")
	}
}

// Whatever order the entries come in, and however often, the runs are the same.
func TestReplayOfEntriesInAnyOrder(t *testing.T) {
	t.Parallel()
	var all []Entry
	for i, run := range []string{"a", "b"} {
		step := planner.Step{ID: "s", Kind: planner.StepFence, Node: "n1"}
		for seq, e := range []Entry{
			{Event: EntryBegin, Plan: &planner.Plan{ID: "p", Kind: planner.Recovery, Node: "n3"}},
			{Event: EntryIntent, Step: &step},
			{Event: EntryAttempt, Step: &step, Attempts: 1, Error: "first"},
			{Event: EntryAttempt, Step: &step, Attempts: 2, Error: "second"},
			{Event: EntryStep, Step: &step, Attempts: 3, State: string(StepDone), Evidence: "marked"},
			{Event: EntryEnd, State: string(Verified)},
		} {
			e.Seq, e.Run, e.At = seq+1, run, time.Unix(int64(10*i+seq), 0).UTC()
			all = append(all, e)
		}
	}
	want := Replay(append([]Entry{}, all...))
	if len(want) != 2 || want[0].Run != "a" || want[0].State != Verified || len(want[0].Steps) != 1 || len(want[0].Steps[0].Tries) != 2 {
		t.Fatalf("%+v", want)
	}
	rapid.Check(t, func(t *rapid.T) {
		doubled := append(append([]Entry{}, all...), rapid.SliceOf(rapid.SampledFrom(all)).Draw(t, "again")...)
		got := Replay(rapid.Permutation(doubled).Draw(t, "order"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
