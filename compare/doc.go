// Package compare finds the rows that are not the same on all nodes of a live
// mesh, table by table, and has them repaired if that is wanted.
//
// The servers do the work: each returns for a block of a table the number of its
// rows and the sum of their hashes. Only where these differ does a comparison go
// down, to smaller blocks and at last to rows. How the rows of a table are put
// into blocks is its method:
//
//   - ranges: blocks are ranges of the key, read through its index;
//   - buckets: blocks are classes of the hash of the key's text, for keys that do
//     not sort alike on all nodes (other collations), read in the order of storage;
//   - multiset: blocks are classes of the hash of the whole row, for tables without
//     a key that all nodes share. How often each row occurs is what is compared.
//
// It promises, apart from collisions of 128-bit hashes:
//
//   - No difference is missed. Every row lies in at least one block of its node
//     whatever order the node sorts by, and blocks are summed, never combined by
//     XOR, in which equal rows cancel each other out.
//   - Nothing on its way is taken for a difference. What differs is read again
//     behind a barrier, and counts only if it differs in the same versions as
//     before; what is written too fast for that is reported as unsettled.
//   - Whatever was not looked at is in the report: tables that could not be
//     compared, blocks that were not gone into, differences that are not listed.
//   - Memory and the length of a statement are bounded by the size of a block, not
//     of a table.
//
// What is to be compared (tables, columns, filters), the barrier and the open
// connections are handed in. Rows with a key are judged and repaired by package
// rescue, as those of a recovery are. It must never import what wires (internal)
// nor the engines (postgres).
package compare
