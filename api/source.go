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

// EventSource is where the live stream of events comes from.
type EventSource interface {
	// Events delivers the cluster's events from now on, until ctx ends; then,
	// or when the bus is lost, the channel is closed. A reader that does not
	// keep up may lose events: whoever needs every one reads the stream
	// itself.
	Events(ctx context.Context) (<-chan events.Event, error)
}
