package fault_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"healer/chaos/fault"
)

// TestHarm: what faults take away together.
func TestHarm(t *testing.T) {
	on := func(all ...fault.Fault) (out []fault.Struck) {
		for _, f := range all {
			out = append(out, fault.Struck{Fault: f, On: f.Node})
		}
		return out
	}
	for name, c := range map[string]struct {
		faults []fault.Struck
		want   fault.Harm
	}{
		"a server is gone":    {on(fault.Fault{Kind: fault.ServerKill, Node: "n1"}), fault.Harm{Lost: []string{"n1"}}},
		"one agent is no one": {on(fault.Fault{Kind: fault.AgentKill, Node: "n1"}), fault.Harm{}},
		"two agents of three are a majority": {
			on(fault.Fault{Kind: fault.AgentKill, Node: "n1"}, fault.Fault{Kind: fault.NodeKill, Node: "n2"}),
			fault.Harm{Lost: []string{"n1", "n2", "n3"}, NoMajority: true},
		},
		"a node alone is lost to the others": {
			on(fault.Fault{Kind: fault.LinkCut, Link: fault.All, Node: "n3"}), fault.Harm{Lost: []string{"n3"}},
		},
		"a clock is another one":       {on(fault.Fault{Kind: fault.ClockStep, Node: "n2", Offset: time.Hour}), fault.Harm{Skewed: []string{"n2"}}},
		"a full disk may stop nothing": {on(fault.Fault{Kind: fault.DiskFull, Node: "n1"}), fault.Harm{Lost: []string{"n1"}, Spares: true}},
		"a slot is what a recovery needs": {
			on(fault.Fault{Kind: fault.SlotDrop, Node: "n1", Peer: "n2", Slot: "recovery"}), fault.Harm{Destroys: []string{"n1", "n2", "n3"}},
		},
		"a backup is an older state": {
			on(fault.Fault{Kind: fault.BackupRestore, Node: "n1"}), fault.Harm{Lost: []string{"n1"}, Rewinds: []string{"n1"}, Destroys: []string{"n1"}},
		},
	} {
		if diff := cmp.Diff(c.want, fault.HarmOf([]string{"n1", "n2", "n3"}, c.faults), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
