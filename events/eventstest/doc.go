// Package eventstest is the events bus for tests: Recorder, which keeps in
// memory what was published, and Contract, the suite that every
// Publisher and Subscriber passes, Recorder and the real bus alike.
//
// It promises that what a test learns from a Recorder is true of the real bus.
// It must never import a broker, and only tests may import it.
package eventstest
