package api

import (
	"context"

	"healer/events"
)

// Source is the agent as this package needs it.
type Source interface {
	// Status returns what the agent knows now. It is called for every request
	// and must answer from memory. State and Reasons may be left empty: the
	// server fills them in.
	Status(ctx context.Context) Status
}

// RecoverySource is where the runs of this agent's recoveries are read.
type RecoverySource interface {
	// Recoveries lists the runs that are remembered, oldest first. What can be read
	// is returned along with an error for what cannot.
	Recoveries(ctx context.Context) ([]Run, error)
}

// PlanSource makes plans, and carries none out.
type PlanSource interface {
	// Plans are those for what is lost or has returned, as the agent would make them
	// now of what it has observed. With a name of a node it is the one that its loss
	// would ask for. That there is no such node is a *topology.Fault.
	Plans(ctx context.Context, failed string) ([]Plan, error)
}

// EventSource is where the stream of events comes from.
type EventSource interface {
	// Events delivers the cluster's events that f selects, no id twice, until ctx
	// ends; then, or when the bus is lost, the channel is closed. A reader may take
	// its time: it holds up nobody else. A pattern that matches nothing is an error.
	Events(ctx context.Context, f events.Filter) (<-chan events.Event, error)
}
