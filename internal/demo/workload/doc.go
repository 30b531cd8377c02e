// Package workload writes to every node of a mesh as a shop would: customers,
// orders with their lines, updates, deletes, and transactions of many rows.
//
// It promises writes that a mesh without conflict resolution can bear: each row
// has one writer at a time. A node writes the keys of its own range; the rows of
// a Burst are handed to another node only when the caller says that the nodes
// which must have them do. What differs in the end was therefore lost by
// replication or by healing, and not made by two writers.
//
// It must never import the parts that heal.
package workload
