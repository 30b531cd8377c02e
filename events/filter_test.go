package events_test

import (
	"strings"
	"testing"
	"time"

	"healer/events"
)

func TestFilterMatches(t *testing.T) {
	for _, c := range []struct {
		pattern string
		kind    events.Kind
		want    bool
	}{
		{"", events.NodeFailed, true},
		{">", events.NodeFailed, true},
		{"node.*", events.NodeFailed, true},
		{"node.>", events.NodeFailed, true},
		{"*.failed", events.RecoveryFailed, true},
		{"*.*", events.SlotAtRisk, true},
		{"slot.at_risk", events.SlotAtRisk, true},
		{"node.failed", events.RecoveryFailed, false},
		{"node", events.NodeFailed, false},
		{"*", events.NodeFailed, false},
		{"node.failed.>", events.NodeFailed, false},
		{"node.failed.*", events.NodeFailed, false},
		{"nod.*", events.NodeFailed, false},
	} {
		f := events.Filter{Kinds: c.pattern}
		if got := f.Matches(c.kind); got != c.want {
			t.Errorf("%q matches %s: %v", c.pattern, c.kind, got)
		}
		if err := f.Check(); c.want && err != nil {
			t.Errorf("%q: %v", c.pattern, err)
		}
	}
}

func TestFilterCheckNamesTheMistake(t *testing.T) {
	for pattern, want := range map[string]string{
		"node..failed": "empty token",
		".":            "empty token",
		"node.>.x":     "> before its end",
		"node.f*":      "is no token",
		"node. failed": "is no token",
		"coffee.*":     "matches no kind",
		"node":         "matches no kind",
	} {
		if err := (events.Filter{Kinds: pattern}).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}

func TestFrom(t *testing.T) {
	if _, replay := (events.From{}).Replay(); replay || events.FromNow() != (events.From{}) {
		t.Error("the zero From replays")
	}
	if at, replay := events.FromStart().Replay(); !replay || !at.IsZero() {
		t.Error("FromStart does not replay everything")
	}
	now := time.Now()
	if at, replay := events.FromTime(now).Replay(); !replay || !at.Equal(now) {
		t.Error("FromTime does not replay from its time")
	}
}

func TestCheckCluster(t *testing.T) {
	for name, ok := range map[string]bool{
		"app": true, "app-1": true, "App_2": true, strings.Repeat("a", 48): true,
		"": false, "a.b": false, "a b": false, "a*": false, ">": false, "é": false, strings.Repeat("a", 49): false,
	} {
		if err := events.CheckCluster(name); (err == nil) != ok {
			t.Errorf("cluster %q: %v", name, err)
		}
	}
}
