package check

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"

	"healer/topology"
)

// carry is what a run says of one gap: how many transactions it has, and how many the
// run applied.
type carry struct{ missing, applied int64 }

// carryModel is a gap on a target; the state is how much of it has been applied.
func carryModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(0) },
		Step: func(state, input, _ any) (bool, any) {
			c, ok := input.(carry)
			done, isInt := state.(int64)
			// A run that comes later may see no gap any more; one that applies nothing does no harm.
			return ok && isInt && (c.applied == 0 || done+c.applied <= c.missing), done + c.applied
		},
	}
}

// carriage is what a run did about the gap of a lane.
type carriage struct {
	lane lane
	op   porcupine.Operation
}

// carriedOnce: all runs of a recovery together apply no more transactions on a target
// than its gap has. A recovery may find several gaps there, one behind the other: a node
// that is back may have more of the lost one than those had whom the first run made equal.
func carriedOnce(f *facts) (found []string) {
	type target struct{ recovery, node string }
	all := map[target][]carriage{}
	for _, run := range f.entriesOf() {
		lanes := map[string]lane{}
		for _, e := range run {
			if e.Plan != nil {
				clear(lanes)
				for _, l := range e.Plan.Lanes {
					lanes[l.Target] = l
				}
			}
			if e.Event != "step" || e.Step == nil || e.Step.Kind != "subscribe" || e.State != "done" {
				continue
			}
			l, planned := lanes[e.Step.Target]
			if !planned {
				l.To = math.MaxUint64
			}
			end, t := e.At.Sub(f.Start), target{e.Recovery, e.Step.Target}
			all[t] = append(all[t], carriage{l, porcupine.Operation{
				Input: carry{e.Figures["missing"], e.Figures["transactions"]}, Call: int64(end - e.Duration), Return: int64(end),
			}})
		}
	}
	for t, of := range all {
		for _, ops := range gaps(of) {
			if porcupine.CheckOperations(carryModel(), ops) {
				continue
			}
			var parts []string
			for _, o := range ops {
				if c, ok := o.Input.(carry); ok {
					parts = append(parts, fmt.Sprintf("%d of %d", c.applied, c.missing))
				}
			}
			found = append(found, fmt.Sprintf("recovery %s carried too much to %s: %s", t.recovery, t.node, strings.Join(parts, ", then ")))
		}
	}
	slices.Sort(found)
	return found
}

// gaps puts together what was done about lanes that have a transaction in common: they
// are of one gap, which has grown or was found again.
func gaps(of []carriage) (all [][]porcupine.Operation) {
	sort.SliceStable(of, func(i, j int) bool {
		a, b := of[i], of[j]
		return a.lane.From < b.lane.From || a.lane.From == b.lane.From && a.op.Return < b.op.Return
	})
	var end topology.LSN
	for _, c := range of {
		if len(all) == 0 || c.lane.From >= end {
			all = append(all, nil)
		}
		last := &all[len(all)-1]
		c.op.ClientId = len(*last)
		*last = append(*last, c.op)
		end = max(end, c.lane.To)
	}
	return all
}
