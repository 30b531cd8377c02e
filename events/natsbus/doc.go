// Package natsbus is the events bus on NATS: the embedded server with
// JetStream, the publisher with its durable outbox, and subscriptions.
//
// # What it promises
//
// Publish never waits for NATS. When it returns nil, the event is in the
// outbox file of this agent: it survives the death of the process at once, and
// the loss of power as soon as the fsync has run that Publish sets off but does
// not wait for. It is sent on at once, so that whoever listens hears of it even
// while JetStream has no leader, and it is sent again until the stream has
// acknowledged it.
//
// The stream has every event of every agent, each id once, and those of one
// agent in the order in which that agent published them. An id is refused by
// the stream when it had it within DuplicateWindow; subscriptions refuse it
// also later. Whoever listens on the subjects with a plain NATS client, not
// through JetStream or Subscribe, may see an id more than once.
//
// How order and speed go together: an agent has at most one event on its way
// into the stream. Those that wait behind it are announced meanwhile: sent on
// their subject with a header which makes the stream refuse them.
//
// What this package must never do: decide anything, or keep a healing waiting.
// It must not import anything of this module but topology, events and the reader of
// secrets.
package natsbus
