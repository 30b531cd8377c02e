// Package verify is `healer verify`: it finds out what the live nodes of a cluster
// replicate between them, has package compare compare it, and shows the result.
//
// It connects to the servers itself and needs no agent. It promises that nothing is
// repaired while a recovery is under way or a node that is involved is fenced off,
// and that an exit code of 0 means that every row was compared and is equal.
package verify
