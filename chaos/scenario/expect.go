package scenario

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"healer/events"
)

// Expect is what a run must show beside no violation.
type Expect struct {
	// Events are kinds that must have happened, Never those that must not.
	Events []string `yaml:"events,omitempty"`
	Never  []string `yaml:"never,omitempty"`
	// Refused are reasons of refusals, each of which must have been given.
	Refused []string `yaml:"refused,omitempty"`
	// Lost are the nodes that are still lost at the end; the others must be equal.
	Lost []string `yaml:"lost,omitempty"`
	// RTO bounds how long each recovery may take, from the fault to verified.
	RTO time.Duration `yaml:"rto,omitempty"`
}

// Missing says what is expected and not among the events: it may still come.
func (x Expect) Missing(told []events.Event) (out []string) {
	for _, k := range x.Events {
		if count(told, k) == 0 {
			out = append(out, "there was no "+k)
		}
	}
	for _, reason := range x.Refused {
		if !slices.ContainsFunc(told, func(e events.Event) bool {
			var r events.Refused
			return e.Kind() == events.RecoveryRefused && json.Unmarshal(e.Data, &r) == nil && r.Reason == reason
		}) {
			out = append(out, "nothing was refused as "+reason)
		}
	}
	return out
}

// Unwanted says what is among the events and must never be.
func (x Expect) Unwanted(told []events.Event) (out []string) {
	for _, k := range x.Never {
		if n := count(told, k); n > 0 {
			out = append(out, fmt.Sprintf("there were %d %s", n, k))
		}
	}
	return out
}

func count(told []events.Event, kind string) (n int) {
	for _, e := range told {
		if string(e.Kind()) == kind {
			n++
		}
	}
	return n
}

func (x Expect) check(nodes []string) []error {
	var errs []error
	for field, kinds := range map[string][]string{"events": x.Events, "never": x.Never} {
		for _, k := range kinds {
			if !known(k) {
				errs = append(errs, fmt.Errorf("expect.%s %q: use a kind of events of docs/events.md", field, k))
			}
		}
	}
	for _, n := range x.Lost {
		if !slices.Contains(nodes, n) {
			errs = append(errs, fmt.Errorf("expect.lost %q: the nodes are %v", n, nodes))
		}
	}
	if x.RTO < 0 {
		errs = append(errs, fmt.Errorf("expect.rto %s: use a length above zero", x.RTO))
	}
	return errs
}
