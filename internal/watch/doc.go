// Package watch is the command `healer watch`: the cluster on the whole screen, as it
// is from second to second.
//
// It promises that it changes nothing, that one agent which answers is enough, and that
// what it shows follows from what it was told. It must never take silence for health:
// who does not answer is named, and how old the picture is stands beside it.
package watch
