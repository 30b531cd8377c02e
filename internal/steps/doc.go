// Package steps binds the verbs of a plan to the servers: for each kind of
// step a handler that checks the catalogs and acts through an engine and the
// rescue data path.
//
// It promises that whatever it holds open (the apply session with its lock, the
// stream) ends with Run.Close or with the process, and that every handler can
// be repeated by another agent after a crash at any point. It must never
// decide what to do: that is the planner's.
package steps
