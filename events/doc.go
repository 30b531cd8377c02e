// Package events is the contract of what Healer tells the world: the kinds of
// events, their CloudEvents 1.0 envelope, their subjects and their ids, and the
// interfaces of whoever publishes and whoever listens.
//
// It promises that an event which three agents report is one event: the id is a
// hash of what happened, never of who saw it or when. A Publisher never waits
// for a broker, and a Subscriber hands over no id twice.
//
// Nothing is decided by events: they may be late, and only notifications are
// late with them. Package events must never import a broker; events/natsbus is
// the adapter, and events/eventstest the fake that keeps the same contract.
package events
