package check

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"healer/chaos/history"
	"healer/events"
)

// facts is a run with what several checkers look up in it.
type facts struct {
	Run
	byID map[string]history.Transaction
	// journals has each survivor's journal by transaction, received the transactions
	// that any of them has, sorted.
	journals map[string]map[string]history.Entry
	received []string
	// samples are by node, in the order of time.
	samples map[string][]history.Sample
	// stranded are the origins behind which survivors may stay: what their recovery
	// needs was destroyed, and it was refused.
	stranded map[string]bool
}

func gather(r Run) *facts {
	f := &facts{
		Run: r, byID: map[string]history.Transaction{}, journals: map[string]map[string]history.Entry{},
		samples: map[string][]history.Sample{}, stranded: map[string]bool{},
	}
	for _, t := range r.Transactions {
		f.byID[t.ID] = t
	}
	all := map[string]bool{}
	for _, s := range r.Servers {
		f.journals[s.Node] = map[string]history.Entry{}
		for _, e := range s.Journal {
			f.journals[s.Node][e.Transaction] = e
			all[e.Transaction] = true
		}
	}
	f.received = slices.Sorted(maps.Keys(all))
	for _, s := range r.Samples {
		f.samples[s.Node] = append(f.samples[s.Node], s)
	}
	for _, of := range f.samples {
		sort.SliceStable(of, func(i, j int) bool { return of[i].At < of[j].At })
	}
	for _, x := range r.Faults {
		for _, origin := range x.Destroys {
			f.stranded[origin] = f.stranded[origin] || f.told(events.RecoveryRefused, origin)
		}
	}
	return f
}

// told reports whether there is an event of the kind about the node.
func (f *facts) told(k events.Kind, node string) bool {
	return slices.ContainsFunc(f.Events, func(e events.Event) bool { return e.Kind() == k && e.Subject == node })
}

// never is later than everything.
const never = time.Duration(1<<63 - 1)

// ended is when a transaction had certainly been decided: for one whose client does
// not know, when a server was first seen to have it.
func (f *facts) ended(t history.Transaction) time.Duration {
	if t.Outcome != history.Unknown {
		return t.Ended
	}
	client := history.ClientID(t.Node, t.Client)
	first := never
	for _, of := range f.samples {
		i := slices.IndexFunc(of, func(s history.Sample) bool { return s.Seen[client] >= t.Sequence })
		if i >= 0 {
			first = min(first, of[i].At)
		}
	}
	return first
}

// at is when an event happened; false when its agent's clock was not the run's.
func (f *facts) at(e events.Event) (time.Duration, bool) {
	agent := e.Source[strings.LastIndex(e.Source, "/")+1:]
	for _, x := range f.Faults {
		if slices.Contains(x.Skewed, agent) {
			return 0, false
		}
	}
	return e.Time.Sub(f.Start), true
}

// excused reports whether the origin's transactions may be missing.
func (f *facts) excused(origin string) bool { return f.stranded[origin] }

// rewound reports whether a fault took the node back to an older state.
func (f *facts) rewound(node string) bool {
	return slices.ContainsFunc(f.Faults, func(x history.FaultRecord) bool { return slices.Contains(x.Rewinds, node) })
}

// origin is the node of a transaction, as its id has it.
func origin(id string) string {
	node, _, _ := strings.Cut(id, "/")
	return node
}
