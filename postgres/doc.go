// Package postgres is the handle on one PostgreSQL server: how it is reached,
// how its errors are understood, and the statements every engine needs.
//
// It promises that no error and no log line shows a password, that every
// connection ends on both sides soon after its host has gone, and that every
// error of a server or of the network becomes a *topology.Fault whose class
// says whether trying again can help: Wrap holds the one table of SQLSTATEs.
//
// It is the only package, with those below it, that may import pgx. It knows
// nothing of replication engines; postgres/engine and its dialects do.
package postgres
