// Package events is the contract of what Healer tells the world: the kinds of
// events, their CloudEvents 1.0 envelope, their subjects and their ids.
//
// It promises that an event which three agents report is one event: the id is a
// hash of what happened, never of who saw it or when. It must never import a
// broker; events/natsbus is the adapter.
package events
