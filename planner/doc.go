// Package planner turns (trigger, observation, policy) into a Plan, or into a
// Refusal that says why not and what to do.
//
// It is pure: the same input gives the same plan, down to its ids. It must
// never import anything that does I/O, reads a clock or takes a context.
package planner
