// Package history is the vocabulary of a chaos run: what the clients did and how it
// ended for them, which faults were in force when, and what was read from the servers,
// while the run lasted and at its end.
//
// It promises to be plain data that survives a file: transactions go in and out as
// JSON lines. All times are offsets from the start of the run, taken from one
// monotonic clock. It must never talk to a server, and never judge.
//
// The packages of chaos sort with package sort: what package slices makes anew for each
// type would make the program an eighth of a megabyte larger.
package history
