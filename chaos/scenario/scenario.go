package scenario

import (
	"fmt"
	"slices"
	"time"

	"healer/chaos/fault"
	"healer/chaos/workload"
)

// Scenario is one chaos run.
type Scenario struct {
	// Name is [a-z0-9-]; About is what it is for, in a sentence.
	Name  string `yaml:"name"`
	About string `yaml:"about,omitempty"`
	// Seed is what the clients' choices come from.
	Seed uint64 `yaml:"seed,omitempty"`
	// Nodes is the size of a local cluster, 3 to 5; 3 when zero. PG is what its nodes
	// run. A cluster of the user's own has its own.
	Nodes int    `yaml:"nodes,omitempty"`
	PG    Majors `yaml:"pg,omitempty"`
	// Length is how long the clients write at least; the schedule makes it longer.
	Length   time.Duration `yaml:"length,omitempty"`
	Workload Workload      `yaml:"workload,omitempty"`
	Schedule []Event       `yaml:"schedule"`
	Expect   Expect        `yaml:"expect,omitempty"`
	// Proxies are what the runner listens on in a user's own cluster, so that links
	// which lead through them can be broken.
	Proxies []Proxy `yaml:"proxies,omitempty"`
}

// Workload is what the clients do. Zero values take the workload's defaults.
type Workload struct {
	Clients   int            `yaml:"clients,omitempty"`
	Pace      time.Duration  `yaml:"pace,omitempty"`
	LargeRows int            `yaml:"large_rows,omitempty"`
	Rates     workload.Rates `yaml:"rates,omitempty"`
	// None: nobody writes.
	None bool `yaml:"none,omitempty"`
}

// Event is a fault with its time.
type Event struct {
	// At is when it is made, from the start of the run; with After, from that event.
	At time.Duration `yaml:"at,omitempty"`
	// After is what must have happened first: an event, such as recovery.started, or
	// "step subscribe" for the journal's word that a step begins.
	After string `yaml:"after,omitempty"`
	// For is how long it is in force; 0 until the end of the run.
	For time.Duration `yaml:"for,omitempty"`

	fault.Fault `yaml:",inline"`
}

// Proxy is a door of the runner's that leads to a server.
type Proxy struct {
	// Name is how faults name it: as the node of link faults.
	Name     string `yaml:"name"`
	Listen   string `yaml:"listen"`
	Upstream string `yaml:"upstream"`
}

// The sizes of local clusters.
const (
	MinNodes = 3
	MaxNodes = 5
)

// NodeNames are the nodes of a local cluster of that size.
func NodeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	return names
}

// Role is a node that is known only when an event has happened.
type Role string

// The roles, which After makes known: the recovery's source, a laggard, the node whose
// agent acts, and the lost one.
const (
	Source  Role = "@source"
	Laggard Role = "@laggard"
	Actor   Role = "@actor"
	Victim  Role = "@lost"
)

func roles() []string {
	return []string{string(Source), string(Laggard), string(Actor), string(Victim)}
}

// IsRole reports whether a name stands for a node that an event tells.
func IsRole(name string) bool { return slices.Contains(roles(), name) }

// LinkOf is the link that leads through a proxy, as the first fault of it says.
func (s *Scenario) LinkOf(proxy string) fault.Layer {
	for _, e := range s.Schedule {
		if e.Node == proxy && e.Link != "" {
			return e.Link
		}
	}
	return ""
}

// Faults are the kinds of the schedule, in its order.
func (s *Scenario) Faults() []string {
	kinds := make([]string, 0, len(s.Schedule))
	for _, e := range s.Schedule {
		kinds = append(kinds, string(e.Kind))
	}
	return kinds
}
