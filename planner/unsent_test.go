package planner_test

import (
	"strings"
	"testing"
	"time"

	"healer/planner"
	"healer/topology"
)

// What nobody but the lost node has is never less than what it had written behind
// all that a survivor has of it, and never negative; where one of the two is not
// known, it is not known, and why.
func TestUnsent(t *testing.T) {
	t.Parallel()
	reader := func(name string, progress topology.LSN) topology.NodeState {
		return topology.NodeState{Name: name, Reachable: true, Subscriptions: []topology.Subscription{{Provider: "n1", Progress: progress}}}
	}
	silent := reader("n3", 0x90)
	silent.Reachable = false
	standby := reader("n3", 0x90)
	standby.InRecovery = true
	id := topology.Identity{SystemID: 7, Timeline: 1}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	known := topology.Memory{Identity: id, End: topology.LogEnd{Identity: id, Flushed: 0x100, At: at}}
	confirmed := func(at map[string]topology.LSN) topology.Memory {
		m := known
		m.Confirmed = at
		return m
	}
	another := known
	another.End.Identity.SystemID = 8
	for name, c := range map[string]struct {
		nodes  []topology.NodeState
		lost   []string
		memory topology.Memory
		bytes  int64
		why    string
	}{
		"against the most that a survivor has":     {nodes: []topology.NodeState{reader("n2", 0x40), reader("n3", 0x60)}, memory: known, bytes: 0xA0},
		"what a survivor confirmed counts":         {nodes: []topology.NodeState{reader("n2", 0x40)}, memory: confirmed(map[string]topology.LSN{"n2": 0xF0}), bytes: 0x10},
		"what one that is lost too has does not":   {nodes: []topology.NodeState{reader("n2", 0x40), reader("n3", 0x90)}, lost: []string{"n3"}, memory: confirmed(map[string]topology.LSN{"n3": 0xF0}), bytes: 0xC0},
		"nor what one has that cannot be read":     {nodes: []topology.NodeState{reader("n2", 0x40), silent}, memory: known, bytes: 0xC0},
		"nor a standby":                            {nodes: []topology.NodeState{reader("n2", 0x40), standby}, memory: known, bytes: 0xC0},
		"never negative":                           {nodes: []topology.NodeState{reader("n2", 0x110)}, memory: known},
		"nobody has heard of the end":              {nodes: []topology.NodeState{reader("n2", 0x40)}, why: "how far n1 had written"},
		"nobody has received anything":             {nodes: []topology.NodeState{reader("n2", 0)}, memory: known, why: "received anything of n1"},
		"nobody reads from it":                     {nodes: []topology.NodeState{{Name: "n2", Reachable: true}}, memory: known, why: "received anything of n1"},
		"the end is that of another server's log":  {nodes: []topology.NodeState{reader("n2", 0x40)}, memory: another, why: "another server (system identifier 8)"},
		"that nobody read who it was is no reason": {nodes: []topology.NodeState{reader("n2", 0x40)}, memory: topology.Memory{End: known.End}, bytes: 0xC0},
	} {
		nodes := append([]topology.NodeState{{Name: "n1"}}, c.nodes...)
		got := planner.Unsent("n1", append(c.lost, "n1"), topology.Observation{Nodes: nodes}, c.memory)
		switch {
		case c.why != "":
			if got.UnsentBytes != nil || !strings.Contains(got.UnsentUnknown, c.why) || !strings.Contains(got.UnsentText("n1"), "is not known: ") {
				t.Errorf("%s: %+v", name, got)
			}
		case got.UnsentBytes == nil || *got.UnsentBytes != c.bytes || got.UnsentUnknown != "" || !got.UnsentAsOf.Equal(at):
			t.Errorf("%s: %s, want %d bytes", name, got.UnsentText("n1"), c.bytes)
		}
	}
}
