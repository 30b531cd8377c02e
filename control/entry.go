package control

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Kind is what an entry is about.
type Kind string

// The kinds of entries.
const (
	// Maintenance suspends the verdicts about one node: its subject.
	Maintenance Kind = "maintenance"
	// Pause keeps recoveries from beginning: those of the node that is its
	// subject, or all.
	Pause Kind = "pause"
	// Approval releases one plan in the mode advise. Its subject is a Plan's.
	Approval Kind = "approval"
	// Cancellation stops the recovery of a node, and keeps it from beginning
	// again. Its subject is a Plan's, without the shape.
	Cancellation Kind = "cancellation"
	// Acknowledgement has a recovery tried again at once.
	Acknowledgement Kind = "acknowledgement"
)

// Plan is the subject of what is said about a plan.
type Plan struct {
	// Node is the lost or returned node, ID the recovery's.
	Node, ID string
	// Shape tells apart what the recovery was to do each time it was planned;
	// empty where that does not matter.
	Shape string
}

// Subject is the plan as an entry has it.
func (p Plan) Subject() string {
	s := p.Node + "/" + p.ID
	if p.Shape != "" {
		s += "/" + p.Shape
	}
	return s
}

// PlanOf reads a subject; one that is none of a plan's gives the zero Plan.
func PlanOf(subject string) Plan {
	parts := strings.Split(subject, "/")
	switch len(parts) {
	case 2:
		return Plan{Node: parts[0], ID: parts[1]}
	case 3:
		return Plan{Node: parts[0], ID: parts[1], Shape: parts[2]}
	default:
		return Plan{}
	}
}

// The bounds of an entry: it has to travel in a datagram.
const (
	MaxSubject = 128
	MaxBy      = 64
	MaxReason  = 240
)

// retention is how long an entry is kept after it has ended. An agent that was
// away for less than that cannot bring back what was ended meanwhile.
const retention = 30 * 24 * time.Hour

// Entry is one thing that an operator has said.
type Entry struct {
	Kind Kind `json:"kind"`
	// Subject is what it is about: a node, a plan; empty for the cluster.
	Subject string `json:"subject,omitempty"`
	// At is when it was said. The latest about one subject wins; an agent whose
	// clock is behind dates what it is told after what it knows already.
	At time.Time `json:"at"`
	// Until is when it ends by itself; zero means never.
	Until time.Time `json:"until,omitzero"`
	// By is who said it, Reason why.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Ended takes back what an earlier entry said.
	Ended bool `json:"ended,omitempty"`
}

// key tells apart what entries are about.
type key struct {
	kind    Kind
	subject string
}

func (e Entry) key() key { return key{e.Kind, e.Subject} }

// Active reports whether the entry holds at now.
func (e Entry) Active(now time.Time) bool {
	return !e.Ended && (e.Until.IsZero() || now.Before(e.Until))
}

// forgettable reports whether the entry has ended so long ago that nobody can
// hold an earlier one any more.
func (e Entry) forgettable(now time.Time) bool {
	if e.Active(now) {
		return false
	}
	last := e.At
	if e.Until.After(last) {
		last = e.Until
	}
	return now.Sub(last) > retention
}

// compare orders entries about one subject: all agents choose the same one, even
// of two that were said in the same microsecond.
func (e Entry) compare(o Entry) int {
	ended := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(e.At.Compare(o.At), ended(e.Ended)-ended(o.Ended), e.Until.Compare(o.Until),
		strings.Compare(e.By, o.By), strings.Compare(e.Reason, o.Reason))
}

// validate returns what makes the entry unusable.
func (e Entry) validate() error {
	if !regexp.MustCompile(`^[a-z][a-z_.]{0,31}$`).MatchString(string(e.Kind)) {
		return fmt.Errorf("kind %q: use up to 32 of the characters [a-z_.]", e.Kind)
	}
	for _, f := range []struct {
		field, text string
		most        int
	}{{"subject", e.Subject, MaxSubject}, {"by", e.By, MaxBy}, {"reason", e.Reason, MaxReason}} {
		if len(f.text) > f.most {
			return fmt.Errorf("%s has %d bytes: use at most %d", f.field, len(f.text), f.most)
		}
		if strings.ContainsFunc(f.text, unicode.IsControl) {
			return fmt.Errorf("%s %q has control characters: remove them", f.field, f.text)
		}
	}
	if !e.Until.IsZero() && !e.Ended && !e.Until.After(e.At) {
		return fmt.Errorf("until %s is not after at %s: let it end later", e.Until.Format(time.RFC3339), e.At.Format(time.RFC3339))
	}
	return nil
}
