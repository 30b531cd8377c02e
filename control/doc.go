// Package control is the state by which operators steer all agents at once: a
// node is under maintenance, healing is paused.
//
// It is a small replicated map. Each entry says something of one subject; of two
// entries about the same, the later one wins on every agent, whatever the order
// in which they hear of it. Agents exchange all of it over gossip, and each
// keeps it across its restarts, so one agent that lives is enough to remember.
// Entries end by themselves, by each agent's own clock, or by a later entry.
//
// The package is pure: it reads no clock and no file, and starts no goroutine.
// Whoever owns a Store gives it the time and a way to save.
package control
