// Package attack ends things at chosen moments, so that tests can show that a
// recovery survives it: connections at a chosen message of PostgreSQL's protocol,
// and whatever else a Strike ends there: a backend, a server, the process itself.
//
// It promises that the moment is exact: everything up to the message has reached
// the other side, and nothing after it. It must never be imported by what
// it attacks.
package attack
