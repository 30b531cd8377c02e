package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"healer/events"
	"healer/events/schema"
)

// eventSchema: every event is as its schema says, and about this cluster.
func eventSchema(f *facts) (found []string) {
	for _, e := range f.Events {
		if err := schema.Check(e); err != nil {
			found = append(found, fmt.Sprintf("event %s (%s): %s", e.ID, e.Kind(), strings.ReplaceAll(err.Error(), "\n", " ")))
		}
	}
	return found
}

// once are the kinds of events of which each life of a node has one, whoever reports it.
func once() []events.Kind {
	return []events.Kind{events.NodeFailed, events.NodeReturned, events.NodeLeft}
}

// eventUnique: what happened once is told once: under one id, and not under two.
func eventUnique(f *facts) (found []string) {
	times, lives := map[string]int{}, map[string]int{}
	kinds := map[string]events.Kind{}
	for _, e := range f.Events {
		times[e.ID]++
		kinds[e.ID] = e.Kind()
		if slices.Contains(once(), e.Kind()) && times[e.ID] == 1 {
			lives[fmt.Sprintf("%s of %s in its life %s", e.Kind(), e.Subject, e.Incarnation)]++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(times)) {
		if times[id] > 1 {
			found = append(found, fmt.Sprintf("event %s (%s) is in the stream %d times", id, kinds[id], times[id]))
		}
	}
	for _, what := range slices.Sorted(maps.Keys(lives)) {
		if lives[what] > 1 {
			found = append(found, fmt.Sprintf("%s is told of by %d events", what, lives[what]))
		}
	}
	return found
}

// run is what the events say of one run.
type run struct {
	id, recovery string
	// started and ended are places in the stream from 1 on; 0: there is none.
	started, ended int
	steps          []int
}

// runs puts the events together that name the run they are of.
func (f *facts) runs() map[string]*run {
	all := map[string]*run{}
	for i, e := range f.Events {
		var of struct {
			Run   string `json:"run"`
			State string `json:"state"`
			Kind  string `json:"kind"`
		}
		if e.Kind() == events.JournalEntry || json.Unmarshal(e.Data, &of) != nil || of.Run == "" {
			continue
		}
		r := all[of.Run]
		if r == nil {
			r = &run{id: of.Run, recovery: e.Recovery}
			all[of.Run] = r
		}
		switch e.Kind() {
		case events.RecoveryStarted:
			r.started = i + 1
		case events.RecoveryStep:
			// A run that only looks, or was kept from anything, has not begun.
			if of.State == "done" && of.Kind != "check" && of.Kind != "observe" && of.Kind != "drain" {
				r.steps = append(r.steps, i+1)
			}
		case events.RecoveryVerified, events.NodeRejoined, events.RecoveryFailed, events.RecoveryCancelled:
			r.ended = i + 1
		}
	}
	return all
}

// eventOrder: a plan is told of before its first run, a run before what it did, a node's
// failure before its recovery. Agents tell through outboxes of their own, so only what
// one agent told has an order. A plan that several made is one event, of whoever told it
// first.
func eventOrder(f *facts) (found []string) {
	planned := map[string]int{}
	failed := map[[3]string]int{}
	for i, e := range f.Events {
		if e.Kind() == events.NodeFailed {
			failed[[3]string{e.Source, e.Subject, e.Incarnation}] = i + 1
		}
	}
	for i, e := range f.Events {
		switch e.Kind() {
		case events.RecoveryPlanned:
			if planned[e.Recovery] == 0 {
				planned[e.Recovery] = i + 1
			}
		case events.NodeReturned:
			if failed[[3]string{e.Source, e.Subject, e.Incarnation}] > i+1 {
				found = append(found, fmt.Sprintf("event %s: %s has returned, and %s tells only later that it had failed", e.ID, e.Subject, e.Source))
			}
		}
	}
	runs := f.runs()
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		r := runs[id]
		if p := planned[r.recovery]; p > 0 && r.started > 0 && p > r.started {
			found = append(found, fmt.Sprintf("run %s of recovery %s is told of before its plan", id, r.recovery))
		}
		for _, s := range r.steps {
			if r.started == 0 || s < r.started {
				found = append(found, fmt.Sprintf("run %s of recovery %s: step event %s is told of before the run", id, r.recovery, f.Events[s-1].ID))
			}
		}
		if r.ended > 0 && r.started > r.ended {
			found = append(found, fmt.Sprintf("run %s of recovery %s: its end is told of before its beginning", id, r.recovery))
		}
	}
	return found
}

// eventComplete: what the journals say was done is told of. An event of one fact is told
// by whoever is first, so what one run did may stand under another run's name. A run that
// has no end was killed, perhaps before it could tell.
func eventComplete(f *facts) (found []string) {
	type fact struct {
		recovery, what string
	}
	told := map[fact]bool{}
	for _, e := range f.Events {
		told[fact{e.Recovery, string(e.Kind())}] = true
		var s events.Step
		if e.Kind() == events.RecoveryStep && json.Unmarshal(e.Data, &s) == nil {
			told[fact{e.Recovery, "step " + s.Step}] = true
		}
	}
	runs := f.entriesOf()
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		if last := runs[id][len(runs[id])-1]; last.Event != "end" {
			continue
		}
		for i, e := range runs[id] {
			if i > 0 && e.Seq != runs[id][i-1].Seq+1 {
				found = append(found, fmt.Sprintf("run %s: the journal has entry %d behind entry %d", id, e.Seq, runs[id][i-1].Seq))
			}
			if e.Event == "step" && e.Step != nil && (e.State == "done" || e.State == "failed") && !told[fact{e.Recovery, "step " + e.Step.ID}] {
				found = append(found, fmt.Sprintf("run %s of recovery %s: nobody tells of step %s (%s), which was %s", id, e.Recovery, e.Step.ID, e.Step.Kind, e.State))
			}
			if e.Event == "end" && e.State == "verified" && carried(runs[id]) && !told[fact{e.Recovery, string(events.RecoveryVerified)}] {
				found = append(found, fmt.Sprintf("run %s verified recovery %s, and nobody tells", id, e.Recovery))
			}
			if e.Event == "end" && e.State == "failed" && !told[fact{e.Recovery, string(events.RecoveryFailed)}] && !told[fact{e.Recovery, string(events.RecoveryRefused)}] {
				found = append(found, fmt.Sprintf("run %s of recovery %s failed, and nobody tells: %s", id, e.Recovery, e.Error))
			}
		}
	}
	return found
}

// carried reports whether a run has carried transactions to a laggard.
func carried(entries []entry) bool {
	return slices.ContainsFunc(entries, func(e entry) bool {
		return e.Event == "step" && e.Step != nil && e.Step.Kind == "subscribe" && e.State == "done"
	})
}
