package eventstest

import (
	"fmt"
	"testing"
	"time"

	"healer/events"
)

// Make returns an event which differs from another one by its kind and detail.
func Make(tb testing.TB, cluster string, kind events.Kind, detail string) events.Event {
	tb.Helper()
	f := events.Fact{Cluster: cluster, Kind: kind, Node: "n2", Incarnation: "i1", Detail: []string{detail}}
	data, ok := samples(detail)[kind]
	if !ok {
		tb.Fatalf("there is no sample of %s", kind)
	}
	e, err := events.New(f, "n1", time.UnixMicro(1_700_000_000_123_456), data)
	if err != nil {
		tb.Fatalf("make event: %v", err)
	}
	Check(tb, e)
	return e
}

// MakeN returns n events of one kind, each with its number as detail. They are
// sorted by their data.
func MakeN(tb testing.TB, cluster string, kind events.Kind, n int) []events.Event {
	tb.Helper()
	all := make([]events.Event, n)
	for i := range all {
		all[i] = Make(tb, cluster, kind, fmt.Sprintf("%04d", i))
	}
	return all
}

// samples are data for tests of what carries events.
func samples(detail string) map[events.Kind]any {
	judged := events.Judged{Node: "n2", Reason: detail, Incarnation: "i1"}
	slot := events.Slot{Node: "n2", For: "n1", Why: detail}
	said := events.Said{Reason: detail}
	return map[events.Kind]any{
		events.NodeSuspected: judged, events.NodeFailed: judged, events.NodeReturned: judged,
		events.RecoveryPlanned:  events.Planned{Plan: "recovery", Node: "n2", Shape: detail},
		events.RecoveryStep:     events.Step{Step: detail},
		events.RecoveryVerified: events.Verified{Node: "n2", Run: detail},
		events.RecoveryFailed:   events.Failed{Node: "n2", Error: detail},
		events.SlotCreated:      slot, events.SlotAtRisk: slot,
		events.ControlPaused: said, events.ControlResumed: said,
	}
}
