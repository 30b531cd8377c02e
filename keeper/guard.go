package keeper

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/topology"
)

// GuardLimits say when the slots that hold back WAL for a lost node are given up.
type GuardLimits struct {
	// MaxBytes is the WAL that one slot may hold back for a lost node; 0 is
	// without limit.
	MaxBytes int64
	// After is how long the node must have been lost.
	After time.Duration
	// Mesh allows slots that are not Healer's own: those that fed the node.
	Mesh bool
}

// Absence is what is known of the nodes that are lost.
type Absence struct {
	// For has how long each lost node has been lost without a break.
	For map[string]time.Duration
	// Majority is true while more than half of the configured nodes are alive
	// and can be read: what destroys something needs that.
	Majority bool
}

// Release is a slot to be given up.
type Release struct {
	Slot topology.Slot
	Why  string
}

// Releases picks from a node's slots those to be given up, in the order of their
// names.
//
// Invariants: none without the majority; none that is in use or for a node that
// is not lost; none that is not Healer's own unless the policy names it. own tells
// which names are Healer's.
func Releases(l GuardLimits, a Absence, slots []topology.Slot, own func(name string) bool) []Release {
	if l.MaxBytes <= 0 || !a.Majority {
		return nil
	}
	var out []Release
	for _, s := range slots {
		lost, is := a.For[s.To]
		if !is || s.Active || s.RetainedBytes < l.MaxBytes || lost < l.After {
			continue
		}
		kept := s.Kind == topology.SlotRecovery || s.Kind == topology.SlotSeed
		if !kept && (s.Kind != topology.SlotMesh || (!l.Mesh && !own(s.Name))) {
			continue
		}
		out = append(out, Release{Slot: s, Why: fmt.Sprintf("it holds back %d MiB of WAL for %s, which has been lost for %s",
			s.RetainedBytes>>20, s.To, lost.Round(time.Second))})
	}
	slices.SortFunc(out, func(a, b Release) int { return strings.Compare(a.Slot.Name, b.Slot.Name) })
	return out
}
