package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/events"
	"healer/events/eventstest"
	"healer/internal/localpg/pgtest"
)

// TestDemo runs the whole story with real agents and a small gap.
func TestDemo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "healer")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "healer/cmd/healer").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o := Defaults()
	o.Rows, o.Major = 500, pgtest.Major(t)
	o.told = func(e events.Event) { eventstest.Check(t, e) }
	report, s, err := runWith(t, ctx, program, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, &s.err)
	}
	var printed Report
	if err := json.NewDecoder(bytes.NewReader(s.out.Bytes())).Decode(&printed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report, printed); diff != "" {
		t.Errorf("the JSON is not the report:\n%s", diff)
	}
	r := report
	if !r.Converged || !r.Rejoined || r.RowsDiffering != 0 || r.RowsCompared < 500 || r.TablesCompared != 3 {
		t.Errorf("not converged: %+v", r)
	}
	if r.FailedNode != "n1" || r.Source != "n2" || len(r.Laggards) != 1 || r.Laggards["n3"] == 0 || r.TransactionsRecovered < r.Laggards["n3"] {
		t.Errorf("n2 heals n3: %+v", r)
	}
	// The laggard was told of changes to rows it did not have, so there is
	// something to repair.
	if r.RowsRepaired == 0 || r.RowsTouched < r.RowsRepaired {
		t.Errorf("%d of %d touched rows were repaired", r.RowsRepaired, r.RowsTouched)
	}
	// They are times of arrival, and the bus promises no order.
	if r.DetectedAfterMS <= 0 || r.VerifiedAfterMS <= 0 || r.RejoinedAfterMS <= 0 {
		t.Errorf("times: %+v\n%s", r, &s.err)
	}
	for _, n := range o.survivors() {
		if r.WritesDuringRecovery[n] == 0 {
			t.Errorf("%s was not written during the recovery", n)
		}
	}
	for _, k := range []events.Kind{
		events.NodeFailed, events.RecoveryPlanned, events.RecoveryStarted, events.RecoveryStep,
		events.RecoveryVerified, events.NodeReturned, events.NodeRejoined,
	} {
		if r.Events[k] == 0 {
			t.Errorf("no event %s: %v", k, r.Events)
		}
	}
	if r.Events[events.NodeFailed] != 1 || r.Events[events.RecoveryVerified] != 1 || r.Events[events.NodeRejoined] != 1 {
		t.Errorf("three agents' word on one thing is one event: %v\n%s", r.Events, &s.err)
	}
}
