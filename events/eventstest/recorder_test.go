package eventstest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"healer/events"
	"healer/events/eventstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRecorderKeepsTheContract(t *testing.T) {
	eventstest.Contract(t, func(*testing.T, string) eventstest.Bus { return &eventstest.Recorder{} })
}

func TestRecorderByKindAndWait(t *testing.T) {
	var r eventstest.Recorder
	failed := eventstest.Make(t, "c", events.NodeFailed, "")
	planned := eventstest.Make(t, "c", events.RecoveryPlanned, "")
	go func() {
		for _, e := range []events.Event{failed, planned} {
			if err := r.Publish(e); err != nil {
				t.Error(err)
			}
		}
	}()
	got, err := r.WaitKind(t.Context(), events.RecoveryPlanned)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != planned.ID || len(r.ByKind(events.NodeFailed)) != 1 || len(r.ByKind(events.NodeLeft)) != 0 {
		t.Errorf("recorded %v", r.Events())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.WaitKind(ended, events.NodeLeft); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "node.failed") {
		t.Errorf("waiting in vain ended with %v", err)
	}
}

func TestRecorderFails(t *testing.T) {
	var r eventstest.Recorder
	full := errors.New("full")
	e := eventstest.Make(t, "c", events.NodeFailed, "")
	r.Fail(full)
	if err := r.Publish(e); !errors.Is(err, full) {
		t.Errorf("publish: %v", err)
	}
	r.Fail(nil)
	if err := r.Publish(e); err != nil || !slices.ContainsFunc(r.Events(), func(g events.Event) bool { return g.ID == e.ID }) {
		t.Errorf("publish after the failure: %v, %v", err, r.Events())
	}
}
