// Package check judges chaos runs: from what clients saw, what servers have, what
// Healer told, and which faults were in force, it finds every promise that was broken.
//
// It promises to be pure, so that the same run always has the same violations, and
// never to hold against Healer what PostgreSQL's replication alone would have done.
// It must never read a clock or a server.
package check
