package natsbus

import (
	"context"
	"time"

	"healer/events"
)

// DuplicateWindow is for how long the stream remembers the ids of its events.
// An agent that was cut off for longer may put an event into the stream again
// which another agent had put there; subscriptions then drop it by its id.
const DuplicateWindow = 24 * time.Hour

// Options describes an agent's bus.
type Options struct {
	DialOptions
	// Agent is the name of the node whose agent this is.
	Agent string
	// Replicas is how many servers shall keep the stream: min(3, nodes).
	Replicas int
	// Dir is the directory of the outbox; it is made if missing.
	Dir string
	// MaxEvents and MaxBytes bound the outbox. The defaults are 100 000
	// events and 64 MiB.
	MaxEvents int
	MaxBytes  int64
}

// Bus publishes an agent's events and subscribes to all agents' events.
type Bus struct {
	*Client
}

// Status is the state of the bus, for an operator.
type Status struct {
	// Connected is whether a NATS server is connected, URL which.
	Connected bool   `json:"connected"`
	URL       string `json:"url,omitempty"`
	// Stream is the stream's name. StreamReady is whether it was last found
	// to take events, Replicas how many servers keep it.
	Stream      string `json:"stream"`
	StreamReady bool   `json:"stream_ready"`
	Replicas    int    `json:"replicas"`
	// Pending is how many events the stream has not acknowledged yet,
	// PendingBytes their size, OldestPending when the first was published.
	Pending       int       `json:"pending"`
	PendingBytes  int64     `json:"pending_bytes"`
	OldestPending time.Time `json:"oldest_pending,omitzero"`
	// Refused is how many events Publish has refused since the start,
	// because the outbox was full or could not be written.
	Refused uint64 `json:"refused"`
	// Problem is what stands in the way now; empty when nothing does.
	Problem string `json:"problem,omitempty"`
}

// Connect opens the outbox and connects to NATS. Like Dial it does not fail
// when no server answers; it fails when the outbox cannot be used.
func Connect(ctx context.Context, o Options) (*Bus, error) { panic("TODO") }

// Publish implements events.Publisher. See the package's promises.
func (b *Bus) Publish(e events.Event) error { panic("TODO") }

// Status reports how the bus is.
func (b *Bus) Status() Status { panic("TODO") }

// Close stops the bus. Until ctx ends it waits for the stream to acknowledge
// what was published; what is left stays in the outbox, for the next Connect.
// It returns an error when the outbox could not be closed cleanly.
func (b *Bus) Close(ctx context.Context) error { panic("TODO") }
