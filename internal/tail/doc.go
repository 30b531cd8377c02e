// Package tail is the command `healer events`: it shows what the stream holds of a
// cluster's events, and those that come.
//
// It speaks to NATS and to no server, and changes nothing.
package tail
