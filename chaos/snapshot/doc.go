// Package snapshot reads from the servers of a chaos run what checkers judge: now and
// then while it lasts, and everything at its end.
//
// It promises to change nothing, and to fail rather than to leave out what it could not
// read. It must never judge.
package snapshot
