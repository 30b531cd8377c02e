// Package topology is the vocabulary of Healer: the nodes of a mesh, their log
// positions, subscriptions, slots, marks, and the Observation that puts them
// together.
//
// It promises plain values: no I/O, no clock, no goroutine, nothing that can
// fail except parsing. Every other package may import it; it imports only the
// standard library and must never import anything of this module.
package topology
