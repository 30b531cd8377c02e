// Package soak runs scenarios on a real cluster of this machine, and many of them that
// are drawn from seeds: it makes the faults, lets clients write, waits until the
// cluster has settled, and has the checkers judge what was seen. What fails it reduces
// to a shorter schedule, and keeps with everything that may explain it.
//
// It promises that every fault is healed when a run ends, however it ends. It must
// never judge by itself more than a scenario's own expectations.
package soak
