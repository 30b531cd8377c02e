package detector

import (
	"context"
	"errors"
	"fmt"

	"healer/topology"
)

// Prober reaches one node. It is used by one goroutine at a time.
type Prober interface {
	// Connect opens a session. It bounds the dialing below the probe timeout
	// and the whole by ctx; a server that accepts and then says nothing keeps
	// it waiting, which is how the caller tells a hung server from a silent
	// host. Its error carries a *ProbeError.
	Connect(ctx context.Context) (Session, error)
}

// Session is one open conversation with a server. It is used by one goroutine
// at a time.
type Session interface {
	// Identity is what was read when the session was opened.
	Identity() topology.Identity
	// Ping asks the server for an answer.
	Ping(ctx context.Context) error
	// Wait watches the idle session. It returns nil when ctx ends and the
	// session is as good as before, or an error at once when the session ends.
	Wait(ctx context.Context) error
	// Close gives the session up without waiting for the server.
	Close()
}

// ProbeError is why a probe got no answer.
type ProbeError struct {
	Condition Condition
	Err       error
}

// Error implements error.
func (e *ProbeError) Error() string { return fmt.Sprintf("%s: %v", e.Condition, e.Err) }

// Unwrap gives the cause to errors.Is and errors.As.
func (e *ProbeError) Unwrap() error { return e.Err }

// findingOf is what a probe's error says about the node.
func findingOf(err error) Finding {
	var p *ProbeError
	if errors.As(err, &p) {
		return Finding{Condition: p.Condition, Detail: p.Err.Error()}
	}
	return Finding{Condition: Unclassified, Detail: err.Error()}
}

// Gossip carries evidence between the agents and knows which of them live.
type Gossip interface {
	// Start begins to listen and to join the other members, and goes on
	// trying. It fails only when it cannot listen.
	Start(ctx context.Context, in Inbox) error
	// Send gives evidence to every member, best effort, without waiting for
	// any of them. Urgent evidence is repeated until it has surely arrived.
	Send(evidence []Evidence, urgent bool)
	// Agents returns the names of the members whose agents live, itself
	// included, sorted.
	Agents() []string
	// Stop says farewell with the given evidence, if any, and ends what Start
	// began. It returns within ctx.
	Stop(ctx context.Context, farewell []Evidence) error
}

// Inbox is what a Gossip delivers to. Its methods are called under the Gossip's
// own locks: they never block and never call back into the Gossip.
type Inbox interface {
	// Receive takes what another agent sent.
	Receive(from string, evidence []Evidence)
	// State returns all fresh evidence, for an exchange of full states.
	State() []Evidence
	// AgentsChanged says that Agents returns something new.
	AgentsChanged()
}
