package check

import (
	"time"

	"healer/chaos/history"
	"healer/events"
)

// Run is all that is known of a run when it is over: every fault healed, every client
// stopped, and the servers at rest.
type Run struct {
	// Start is the moment that offsets count from, Length how long the run took.
	Start  time.Time     `json:"start"`
	Length time.Duration `json:"length"`
	// Nodes are all nodes of the cluster, Lost those that were lost at the end.
	Nodes []string `json:"nodes"`
	Lost  []string `json:"lost,omitempty"`

	Transactions []history.Transaction `json:"transactions"`
	Faults       []history.FaultRecord `json:"faults"`
	// Servers are the survivors' states.
	Servers []history.Server `json:"servers"`
	Samples []history.Sample `json:"samples,omitempty"`
	// Events are all that the stream of events has, journal entries among them, in
	// the order of the stream.
	Events []events.Event `json:"events"`
	// Patience is how long a node may be lost, with a majority alive, until its
	// recovery is verified or refused; 0 leaves that unjudged.
	Patience time.Duration `json:"patience,omitempty"`
}

// Violation is a promise that was broken.
type Violation struct {
	// Checker is the one that found it.
	Checker string `json:"checker"`
	Detail  string `json:"detail"`
}
