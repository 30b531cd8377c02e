package api

import "context"

// Source is the agent as this package needs it.
type Source interface {
	// Status returns what the agent knows now. It is called for every request
	// and must answer from memory.
	Status(ctx context.Context) Status
}
