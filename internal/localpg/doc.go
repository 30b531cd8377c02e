// Package localpg runs real PostgreSQL servers on this machine: single servers,
// and meshes of servers that replicate to each other both ways. The demo and
// the tests share it.
//
// It promises that
//
//   - a server is a real one, started from an initdb template in a fraction of
//     a second, with a system identifier of its own, reachable on 127.0.0.1;
//   - what it starts ends: with Close, or when the process that started it
//     dies, however it dies (see spawn);
//   - faults are faithful: Kill leaves a server no time to say or write anything,
//     Freeze leaves its connections open, and a cut link stalls bytes as a
//     network does and never loses some of them;
//   - a server that is down keeps its port and its data, so Start takes it up
//     again where it was.
//
// It knows nothing of healing and must never import another package of this
// module but topology.
package localpg
