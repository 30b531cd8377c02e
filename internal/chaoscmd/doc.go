// Package chaoscmd is the commands `healer chaos soak`, `replay`, `run` and `faults`.
//
// It promises that a fault in a user's cluster is only made when the cluster's name was
// repeated, and is healed whatever ends the command but SIGKILL. It must never judge.
package chaoscmd
