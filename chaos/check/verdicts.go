package check

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"healer/chaos/history"
	"healer/events"
)

// leeway is how long after a fault's end, or after the beginning of one that costs the
// majority, what was concluded before may still be told.
const leeway = 2 * time.Second

// verdicts: a node is judged failed only while a fault has taken it away.
func verdicts(f *facts) (found []string) {
	for _, e := range f.Events {
		at, known := f.at(e)
		if e.Kind() != events.NodeFailed || !known {
			continue
		}
		if !slices.ContainsFunc(f.Faults, func(x history.FaultRecord) bool {
			return slices.Contains(x.Lost, e.Subject) && x.From <= at && at <= x.Over(never-leeway)+leeway
		}) {
			found = append(found, fmt.Sprintf("%s was judged failed at %s by %s, and no fault had taken it away: %s",
				e.Subject, at.Round(time.Millisecond), e.Source, e.Data))
		}
	}
	return found
}

// majority: nobody acts while a fault costs the majority.
func majority(f *facts) (found []string) {
	for _, x := range f.minorities() {
		for _, e := range f.Events {
			at, known := f.at(e)
			acts := e.Kind() == events.NodeFailed || e.Kind() == events.RecoveryStarted || e.Kind() == events.SlotReleased
			if known && acts && at > x.from+leeway && at < x.until {
				found = append(found, fmt.Sprintf("%s of %s at %s, while %s cost the majority from %s to %s",
					e.Kind(), e.Subject, at.Round(time.Millisecond), x.what, x.from.Round(time.Millisecond), x.until.Round(time.Millisecond)))
			}
		}
	}
	return found
}

// minority is a time without a majority.
type minority struct {
	what        string
	from, until time.Duration
}

// seam is how far two records of faults may be apart that follow one another without a
// pause: no majority comes about in between.
const seam = 10 * time.Millisecond

// minorities are the times without a majority, whatever faults followed one another in
// them: a record ends also when faults take other nodes away than before.
func (f *facts) minorities() []minority {
	var all []minority
	faults := slices.Clone(f.Faults)
	sort.SliceStable(faults, func(i, j int) bool { return faults[i].From < faults[j].From })
	for _, x := range faults {
		if !x.CostsMajority {
			continue
		}
		if n := len(all) - 1; n >= 0 && x.From <= all[n].until+seam {
			all[n].until = max(all[n].until, x.Over(f.Length))
			continue
		}
		all = append(all, minority{what: x.Kind + " of " + x.Target, from: x.From, until: x.Over(f.Length)})
	}
	return all
}

// Healing is what became of one loss of a node.
type Healing struct {
	// Fault is the kind of the fault, Node what was lost.
	Fault string `json:"fault"`
	Node  string `json:"node"`
	// LastedMS is how long the fault did, in milliseconds.
	LastedMS float64 `json:"lasted_ms"`
	// DetectedMS is the time from the fault to node.failed, VerifiedMS that to
	// recovery.verified, in milliseconds; 0 when it did not come to that.
	DetectedMS float64 `json:"detected_ms,omitempty"`
	VerifiedMS float64 `json:"verified_ms,omitempty"`
	// Refused: the recovery was refused.
	Refused bool `json:"refused,omitempty"`
	// spared: nobody judged it failed, and it may have gone on.
	spared bool
}

// Healings tells of every loss of a node in the run. What an agent with another time
// than the run told is left out.
func Healings(r Run) []Healing { return gather(r).healings() }

func (f *facts) healings() (all []Healing) {
	for _, x := range f.Faults {
		for _, n := range x.Lost {
			h := Healing{Fault: x.Kind, Node: n, LastedMS: ms(x.Over(f.Length) - x.From)}
			end := f.again(x, n)
			if at, ok := f.first(events.NodeFailed, n, x.From, end); ok {
				h.DetectedMS = ms(at - x.From)
			}
			if at, ok := f.first(events.RecoveryVerified, n, x.From, end); ok {
				h.VerifiedMS = ms(at - x.From)
			}
			_, h.Refused = f.first(events.RecoveryRefused, n, x.From, end)
			h.spared = x.Spares && h.DetectedMS == 0
			all = append(all, h)
		}
	}
	return all
}

// again is when the node was lost the next time; the end of the run if it was not.
func (f *facts) again(x history.FaultRecord, node string) time.Duration {
	next := f.Length + leeway
	for _, y := range f.Faults {
		if y.From > x.From && slices.Contains(y.Lost, node) {
			next = min(next, y.From)
		}
	}
	return next
}

// first is when the first event of the kind about the node was within a time.
func (f *facts) first(k events.Kind, node string, from, to time.Duration) (time.Duration, bool) {
	found, when := false, never
	for _, e := range f.Events {
		at, known := f.at(e)
		if e.Kind() == k && e.Subject == node && known && at >= from && at <= to && at < when {
			found, when = true, at
		}
	}
	return when, found
}

// RTO is the longest time, in milliseconds, from a loss to its verified recovery; 0
// when nothing was recovered.
func RTO(r Run) (longest float64) {
	for _, h := range Healings(r) {
		longest = max(longest, h.VerifiedMS)
	}
	return longest
}

// ms has one digit behind the point.
func ms(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}

// healed: a node that is lost for long, with a majority alive, is recovered or refused.
func healed(f *facts) (found []string) {
	if f.Patience == 0 {
		return nil
	}
	for _, h := range f.healings() {
		if h.VerifiedMS == 0 && !h.Refused && !h.spared && h.LastedMS > ms(f.Patience) && !f.paralysed(h) {
			found = append(found, fmt.Sprintf("%s was lost for %.0f ms by %s, and its recovery was neither verified nor refused", h.Node, h.LastedMS, h.Fault))
		}
	}
	return found
}

// paralysed reports whether a majority was missing at any time of the run in which the
// node was lost.
func (f *facts) paralysed(h Healing) bool {
	return slices.ContainsFunc(f.Faults, func(x history.FaultRecord) bool {
		return x.CostsMajority && slices.ContainsFunc(f.Faults, func(y history.FaultRecord) bool {
			return slices.Contains(y.Lost, h.Node) && x.From < y.Over(never) && y.From < x.Over(never)
		})
	})
}
