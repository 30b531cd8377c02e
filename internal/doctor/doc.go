// Package doctor is the command `healer doctor`: it reads every server of a cluster
// and names each prerequisite that is not met, with the SQL or the setting that
// mends it.
//
// It changes nothing and needs no agent. What is wrong is decided in check.go, over
// what was read and without I/O.
package doctor
