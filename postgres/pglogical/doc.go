// Package pglogical is the dialect of the extension pglogical 2.4, on PostgreSQL 15
// and later: pglogical.subscription, replication sets, and the functions that alter
// them.
//
// What it needs besides what every engine needs:
//
//   - The subscriber has no list of the tables that it receives. They are those that
//     its own replication sets of the same names have, which in a mesh are alike on
//     all nodes, and those that Healer's publication of the node has, which is made of
//     what the others' sets were when they could be asked.
//   - pgoutput decodes the WAL, by Healer's own publications: they are always made. A
//     publication's row filter cannot say what a replication set's can, so that the
//     replay filters rows itself.
//   - What pglogical sends through its queue (DDL, TRUNCATE) is a row of
//     pglogical.queue in the source's WAL, under the origin of the node that queued it.
package pglogical
