// Package app makes an agent of the parts: it opens them in order, runs the
// reconcile loop over them, and closes them in reverse.
//
// It promises that the loop is level-triggered: each pass observes the mesh,
// asks the planner and runs the plan, whatever happened before, so an agent
// that starts in the middle of anything goes on with it. Events, journal and
// memory are told; they decide nothing.
package app
