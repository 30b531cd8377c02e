package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"healer/chaos/history"
	"healer/events"
	"healer/topology"
)

// hold is what a session does with a lock.
type hold struct {
	session string
	takes   bool
}

// lockModel is a lock that one session has at a time; the state is who.
func lockModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			h, ok := input.(hold)
			switch {
			case !ok:
				return false, state
			case h.takes:
				return state == "", h.session
			default:
				return state == h.session, ""
			}
		},
	}
}

// oneApplier: at any time at most one session applies an origin's transactions on a
// server. A sample says who held the lock; it was taken between the last sample without
// the session and the first with it, and given back likewise. The history is right when
// some order within these bounds is one that a lock allows.
func oneApplier(f *facts) (found []string) {
	for _, n := range f.Nodes {
		for _, from := range f.Nodes {
			ops := f.holds(n, from)
			if len(ops) == 0 || porcupine.CheckOperations(lockModel(), ops) {
				continue
			}
			var sessions []string
			for _, o := range ops {
				if h, ok := o.Input.(hold); ok && h.takes {
					sessions = append(sessions, fmt.Sprintf("%s from %s", h.session, time.Duration(o.Return).Round(time.Millisecond)))
				}
			}
			found = append(found, fmt.Sprintf("several sessions at a time recovered %s on %s: %s", from, n, strings.Join(sessions, ", ")))
		}
	}
	return found
}

// holds are the operations on the lock of an origin on a server.
func (f *facts) holds(node, from string) (ops []porcupine.Operation) {
	open := map[string]bool{}
	all := f.samples[node]
	for i, s := range all {
		now := map[string]bool{}
		for _, a := range s.Appliers {
			if a.Origin == from {
				now[a.Session] = true
			}
		}
		before := time.Duration(0)
		if i > 0 {
			before = all[i-1].Asked
		}
		for _, session := range slices.Sorted(maps.Keys(now)) {
			// It is given back after the last sample that has it; a session may take it again.
			if open[session] {
				ops = forget(ops, session)
			} else {
				ops = append(ops, porcupine.Operation{Input: hold{session, true}, Call: int64(before), Return: int64(s.At)})
			}
			ops = append(ops, porcupine.Operation{Input: hold{session, false}, Call: int64(s.Asked), Return: int64(f.after(all, i))})
		}
		open = now
	}
	for i := range ops {
		ops[i].ClientId = i
	}
	return ops
}

// after is when the sample behind the i-th had been read.
func (f *facts) after(all []history.Sample, i int) time.Duration {
	if i+1 < len(all) {
		return all[i+1].At
	}
	return never
}

// forget removes a session's last release: it held on.
func forget(ops []porcupine.Operation, session string) []porcupine.Operation {
	for i, o := range slices.Backward(ops) {
		if o.Input == (hold{session, false}) {
			return slices.Delete(ops, i, i+1)
		}
	}
	return ops
}

// entry is what is read of an entry of a journal.
type entry struct {
	Event    string        `json:"event"`
	Seq      int           `json:"seq"`
	At       time.Time     `json:"at"`
	Run      string        `json:"run"`
	Recovery string        `json:"recovery"`
	Agent    string        `json:"agent"`
	Node     string        `json:"node"`
	State    string        `json:"state"`
	Duration time.Duration `json:"duration"`
	Step     *struct {
		ID     string `json:"id"`
		Kind   string `json:"kind"`
		Node   string `json:"node"`
		Target string `json:"target"`
	} `json:"step"`
	Plan *struct {
		Lanes []lane `json:"lanes"`
	} `json:"plan"`
	Figures map[string]int64 `json:"figures"`
	Error   string           `json:"error"`
}

// lane is what is read of a plan's lane: the gap on a target, in the lost node's LSNs.
type lane struct {
	Target string       `json:"target"`
	From   topology.LSN `json:"from"`
	To     topology.LSN `json:"to"`
}

// entriesOf are the entries of all journals, by run, each in its order.
func (f *facts) entriesOf() map[string][]entry {
	runs := map[string][]entry{}
	for _, e := range f.Events {
		if e.Kind() != events.JournalEntry {
			continue
		}
		var x entry
		if json.Unmarshal(e.Data, &x) == nil {
			runs[x.Run] = append(runs[x.Run], x)
		}
	}
	for _, of := range runs {
		sort.SliceStable(of, func(i, j int) bool { return of[i].Seq < of[j].Seq })
	}
	return runs
}
