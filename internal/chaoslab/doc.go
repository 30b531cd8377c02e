// Package chaoslab is a real cluster on this machine in which faults are made: servers
// of package localpg, agents as processes, and a network between them every link of
// which can be broken.
//
// It promises that all that it starts ends with it, and that a server which was killed
// refuses connections, as a real one does, although its clients reach it through
// proxies. It must never know what faults are made for.
package chaoslab
