package executor

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"healer/events"
	"healer/topology"
)

// TestEventsStaySmall: the largest conflicts there can be, whose keys JSON makes six
// times as long, leave an event below what any broker takes.
func TestEventsStaySmall(t *testing.T) {
	name := func(i int) string { return fmt.Sprintf("%063d", i) }
	var log topology.ConflictLog
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	for i := range 2 * topology.ListedConflicts {
		// As much of a key as rescue puts into a report.
		key := map[string]string{name(1): strings.Repeat("\x01", 256)}
		log.Add(topology.RowConflict{
			Kind: "constraint_violated", Table: name(i) + "." + name(i), Key: key, OtherKey: key, Node: strings.Repeat("n", 32),
			Remote: topology.RowWrite{Node: strings.Repeat("n", 32), At: at}, Local: &topology.RowWrite{Node: strings.Repeat("n", 32), At: at},
			LSN: 1 << 63, Constraint: name(i), Action: topology.ActionStopped,
		})
	}
	got := told(log)
	if got.Total != 2*topology.ListedConflicts || len(got.Counts) != toldCounts || len(got.First) != toldRows {
		t.Fatalf("told of %d conflicts with %d counts and %d rows", got.Total, len(got.Counts), len(got.First))
	}
	b, err := json.Marshal(events.Failed{Error: clip(strings.Repeat("\x01", 10_000)), Hint: strings.Repeat("h", 200), Conflicts: got})
	if err != nil {
		t.Fatal(err)
	}
	if len(b) >= 60<<10 {
		t.Errorf("the event has %d bytes", len(b))
	}
	if told(topology.ConflictLog{}) != nil {
		t.Error("no conflicts are told of as some")
	}
}
