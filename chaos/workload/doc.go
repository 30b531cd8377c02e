// Package workload is the clients of a chaos run: they write to every node, alone and
// over each other's rows, and record what became of each transaction.
//
// It promises
//
//   - an honest history: what the client cannot know is unknown, and a transaction that
//     may have changed something is never left out;
//   - writes for which the mesh itself can be held to account: a row changes hands only
//     when all nodes have its last write, or on purpose, over the write of a node that
//     the survivors are fenced off from. What differs in the end was lost by the
//     recovery and not made by two writers who did not know of each other;
//   - that Stop ends everything that Start began, whatever state the servers are in.
//
// It must never import the parts that heal, but for the names of their marks.
package workload
