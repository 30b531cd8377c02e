// Package spock is the dialect of pgEdge's extension Spock, 5.0.4 and later and 6.0:
// its public catalogs, the functions that alter subscriptions, and its output plugin.
//
// No server with Spock is at hand where it is built: it is written to Spock's source,
// and a file named in a comment is one of github.com/pgEdge/spock. Its SQL is run in
// the tests against a stand-in of the catalogs on a real server, and against Spock
// itself where HEALER_SPOCK_BINDIR names a PostgreSQL with it.
//
// What it needs besides what every engine needs:
//
//   - The apply worker sets up the origin that has the slot's name, and writes the id
//     of the provider's node into its commits (handle_origin in src/spock_apply.c).
//     So the log and the commit timestamps of a node have ids that no row of
//     pg_replication_origin has, and pgoutput tells no origin for them: the log is
//     decoded by spock_output, with the node's own replication sets.
//   - When a server recovers from a crash, PostgreSQL moves the progress of the id that
//     is in the commits, and the origin itself falls back to the last checkpoint. What a
//     node has applied is the greatest of both and, in Spock 5, of the table
//     spock.progress, as far as they are of this subscription. In Spock 6 that is a view of shared memory which may be ahead of
//     the data after a crash (reconcile_progress_with_origin in
//     src/spock_progress_recovery.c), and is not asked. Behind a fence the origin is
//     moved to where the node really is.
//   - A transaction that the apply worker discards moves the progress without the data
//     (handle_commit in src/spock_apply.c). spock.exception_log tells: a node that has
//     discarded a transaction of the gap is no source.
//   - Dropping a subscription drops its origin, and with it the evidence of what was
//     applied: nothing is dropped before the healing.
package spock
