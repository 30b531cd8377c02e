package detector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"healer/topology"
)

// Prober reaches one node. It is used by one goroutine at a time.
type Prober interface {
	// Connect opens a session within ctx, and the connection for it within
	// dial. It calls taken once the server's side has taken the connection:
	// from then on a server that says nothing is hung, before that its host is
	// silent. Its error carries a *ProbeError.
	Connect(ctx context.Context, dial time.Duration, taken func()) (Session, error)
}

// Session is one open conversation with a server. It is used by one goroutine
// at a time.
type Session interface {
	// Identity is what was read when the session was opened.
	Identity() topology.Identity
	// Ping asks the server for an answer.
	Ping(ctx context.Context) error
	// Unanswered says what the lack of an answer to a Ping that still waits
	// shows: Hung when the server's host has taken the question, HostSilent
	// when not even that. It may be called during a Ping.
	Unanswered() Condition
	// Wait watches the idle session. It returns nil at the given time, or when
	// ctx ends, and the session is as good as before; or an error at once when
	// the session ends.
	Wait(ctx context.Context, until time.Time) error
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
	// Tell gives evidence to one member over a connection, within ctx. Its
	// error is ErrAgentGone when that shows that no agent listens there.
	Tell(ctx context.Context, member string, evidence []Evidence) error
	// Agents returns the names of the members whose agents live, itself
	// included, sorted.
	Agents() []string
	// Stop says farewell with the given evidence, if any, and ends what Start
	// began. It returns within ctx.
	Stop(ctx context.Context, farewell []Evidence) error
}

// ErrAgentGone is what Tell returns when the member's host says that no agent
// listens there, as opposed to a host that says nothing.
var ErrAgentGone = errors.New("no agent listens at the member's address")

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
