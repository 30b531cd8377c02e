// Package rescue is the data path of a recovery: it carries the transactions of
// a lost node F, the gap, from a survivor S that has them to a laggard T that
// lacks them, exactly once, and then proves the survivors equal.
//
//   - Session is the right to apply F's transactions on T: advisory lock,
//     replication origin and progress live and die with one database session.
//   - Stream reads a clone of S's recovery slot: S's WAL as row changes with the
//     origin and the origin's LSN of each transaction.
//   - Replay keeps the transactions of the gap, applies what T lacks in F's
//     order, each with its progress in one transaction of T, and remembers in
//     Touched every key the gap has written.
//   - Verify compares the touched rows on all survivors, repairs what differs by
//     last update wins, and compares again.
//
// It promises that nothing is skipped silently: a change that cannot be carried
// over as it was made stops the replay with a permanent *topology.Fault that
// names the table and the remedy. Errors of PostgreSQL which are not about the
// data (a lost connection, a shutdown, a deadlock) are returned wrapped, for the
// caller to classify.
//
// Its limit is in what no log shows: when the laggard gives a row another key while
// the gap deletes that row or gives it another one, the source skips the laggard's
// change, and the new row, whose key the gap has not touched, stays on the laggard
// alone. PostgreSQL leaves the same behind when nothing is lost.
//
// It is handed open connections and plain values. It imports the PostgreSQL wire
// protocol (pgconn, pglogrepl) and topology, and must never import what decides
// or wires: planner, executor, postgres, internal.
package rescue
