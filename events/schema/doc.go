// Package schema has the JSON Schemas (draft-07) of Healer's events: one of the
// envelope, and one of the data of each kind.
//
// They are made from the Go types that the events are published with, by this
// package's test, which fails when the two differ, and makes them anew with
//
//	go test ./events/schema -args -rewrite
//
// The same test keeps docs/events.md and docs/asyncapi.yaml. A schema allows fields
// that it does not know, so that whoever checks events by it bears newer agents.
package schema
