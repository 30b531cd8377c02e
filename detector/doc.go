// Package detector says which nodes of the mesh live, and shows why.
//
// The Judge is its core: a pure state machine. It is given evidence and the
// time, and returns verdicts; it has no clock, no goroutine and does no I/O, so
// golden scripts and properties can pin every rule of it. Around it, Detector
// runs one probe loop for each node, exchanges evidence with the other agents
// through a Gossip, and hands out what changed. The network itself lies
// outside: detector/gossip carries the messages, postgres/probe asks servers.
//
// It promises: no node is judged failed without accusations from a majority of
// the configured members, nor while a member has a fresh live answer, nor by an
// agent that is itself cut off from the majority; such an agent abstains and
// says why. Silence counts only after it has lasted.
//
// It must never import a database driver or a network library.
package detector
