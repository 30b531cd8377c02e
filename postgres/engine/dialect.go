package engine

import "healer/topology"

// Dialect is what one replication engine does in its own way: the SQL that reads
// its catalogs, and its verbs. All else is the Engine's, and the same for all.
type Dialect interface {
	// Name is the engine's in the cluster's file, Extension that of PostgreSQL's
	// extension that it is; empty for PostgreSQL's own.
	Name() string
	Extension() string
	// Oldest is the server_version_num from which on it can form a mesh, and why.
	Oldest() (version int, why string)

	// Subscriptions is an expression: a JSON array of what Subscription has.
	Subscriptions(g Grants) string
	// Find is a query for the name of the subscription whose id is parameter 1, and
	// whether it is enabled.
	Find() string
	// Tables is a query for the tables that a subscription receives: schema, name and
	// ready, which is false before a table's first copy is finished. id is an
	// expression, the subscription's.
	Tables(id string) string
	// Sends is a query for what a provider sends to who subscribes to the sets in
	// parameter 1, an array of names: a JSON array of what Shape has.
	Sends() string
	// Decodable reports whether the sets are publications, which pgoutput can read.
	Decodable() bool
	// Queue is the table through which a provider sends what is no change of a row; zero
	// when there is none. Command says what one of its rows asks of a subscriber to those
	// sets.
	Queue() topology.TableName
	Command(row map[string]string, sets []string) Command
	// Conflicts is an expression: what the node's apply workers do about two writes of one
	// row, in the words of recovery.conflicts; empty when the engine does nothing.
	Conflicts() string
	// Author is the id of the subscription under whose origin, or under that of the copy of a
	// table, rows have that origin; false when it is none of them.
	Author(origin string, subs []Subscription) (uint32, bool)
	// Primed reports whether the progress of a subscription begins where its slot was made:
	// then subscribers to a provider that has written nothing since differ in it.
	Primed() bool
	// Prepared is a query for a JSON array of the ids that transactions have at the
	// provider which the subscription, parameter 1, holds prepared; empty when it holds none ever.
	Prepared() string

	// Rests tells what an apply worker does in that wait event.
	Rests(event string) Rest
	// EndConnecting is a query that ends the workers of the disabled subscription with
	// the id of parameter 1 that wait for an answer to their attempt to connect: a JSON
	// number, how many there were.
	EndConnecting() string

	// Disable and Enable are statements that may stand in a transaction.
	Disable(name string) string
	Enable(name string) string
	// Drop is one or several statements that remove a subscription, in a transaction,
	// whether its provider lives or not.
	Drop(name string) string
	// Create is a statement for a subscription that is disabled, has no slot yet and copies nothing.
	// An error says why there is none.
	Create(l Link) (string, error)

	// Findings are the prerequisites of a mesh that the subscription does not meet;
	// known is set when its provider is a node of the mesh.
	Findings(s Subscription, known bool) []topology.Finding
}

// Command is what a row of the queue asks for.
type Command struct {
	// SQL does it on the laggard, may be done again, and matters to nothing else. Empty
	// is nothing to do: the log shows what came of it, or it is for others.
	SQL string
	// Stop says what it does that cannot be carried over; By is how to do it by hand.
	Stop, By string
}

// Rest is what an apply worker is known to be at.
type Rest int

// What it may be at.
const (
	// Working: it applies, or waits for a lock, or does what is not known.
	Working Rest = iota
	// Listening: it holds nothing that it received and has not applied.
	Listening
	// Connecting: it has not received anything yet.
	Connecting
)

// Unsupported is the error of a verb that an engine does not have.
func Unsupported(engine, what, remedy string) error {
	f := topology.Faultf(topology.Permanent, "engine_unsupported", "%s cannot %s", engine, what)
	f.Hint = remedy
	return f
}

// choose finds out by its catalogs which engine a node runs. Subscriptions of
// PostgreSQL's own tell: an extension may be there for something else.
func (e *Engine) choose(b base) Dialect {
	if len(e.dialects) == 1 || b.Subscribes {
		return e.dialects[0]
	}
	for _, d := range e.dialects {
		if d.Extension() != "" && b.has(d.Extension()) {
			return d
		}
	}
	return e.dialects[0]
}
