package rescue

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"healer/topology"
)

// PostgreSQL moves a session's origin to the position that was set for a
// transaction not only when it commits but also when it aborts. So when an apply
// session died between setting the position and its COMMIT, T's progress covers a
// transaction that T does not have. It can only be the one whose LSN the progress
// is, and T's commit timestamps tell: they say of each transaction id who wrote
// it and when, where "when" is F's commit timestamp.

// reachedTime is the commit timestamp, in microseconds, of the empty transaction
// that moves the progress to lsn. It says to where, because the newest transaction
// of F on T may be that of an earlier recovery, which proves nothing of this one.
// No transaction of F has such a time: it lies as many microseconds behind the
// beginning of 2000 as F has written bytes.
func reachedTime(lsn topology.LSN) int64 {
	return int64(lsn) //nolint:gosec // no log is half as long as LSNs could say
}

// doubtRange is how many transaction ids are looked through, newest first.
const doubtRange = 20_000_000

// commas joins ids for a list in SQL.
func commas(ids []uint32) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(parts, ", ")
}

// committed reports whether the newest transactions that T committed for F, under
// the origin itself and not under that of repairs, are
// at least n with the commit timestamp: n is 1 unless F committed several
// transactions within one microsecond. It is asked of the one at T's progress.
func (s *Session) committed(ctx context.Context, micros int64, n int) (bool, error) {
	// A function in the select list is evaluated as far as the LIMIT asks; the
	// OFFSETs keep the levels apart, as an id below 3 is an error to ask for.
	const query = `
SELECT (extract(epoch FROM w.ts) * 1000000 - 946684800000000)::bigint
FROM (
  SELECT (o.w).timestamp AS ts, (o.w).roident AS id
  FROM (
    SELECT pg_catalog.pg_xact_commit_timestamp_origin(x.id::text::xid) AS w
    FROM (
      SELECT pg_catalog.generate_series(m.next - 1, greatest(m.next - %d, 3), -1) %% 4294967296 AS id
      FROM (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS next) m
      OFFSET 0
    ) x WHERE x.id >= 3 OFFSET 0
  ) o OFFSET 0
) w WHERE w.id IN (%s) LIMIT %d`
	got, err := rows(ctx, s.conn, fmt.Sprintf(query, doubtRange, commas(s.own), n))
	if err != nil {
		return false, s.wrap(fmt.Errorf("look for the last transaction of %s: %w", s.target.Origin, err))
	}
	if len(got) == 0 {
		return false, s.unproven(ctx)
	}
	if string(got[0][0]) == strconv.FormatInt(reachedTime(s.progress), 10) {
		return true, nil // the progress was moved there after everything was applied
	}
	for _, row := range got {
		if string(row[0]) != strconv.FormatInt(micros, 10) {
			return false, nil
		}
	}
	return len(got) == n, nil
}

// unproven tells a server on which F has never committed from one on which that
// is too long ago to be found.
func (s *Session) unproven(ctx context.Context) error {
	got, err := rows(ctx, s.conn, fmt.Sprintf(
		`SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint > %d`, doubtRange))
	if err != nil {
		return s.wrap(err)
	}
	if !isTrue(got[0][0]) {
		return nil
	}
	return &topology.Fault{
		Class: topology.Permanent, Code: "progress_unproven", Node: s.target.Node,
		Err: fmt.Errorf("whether transaction %s of %s was committed cannot be told: none of its commits is among the last %d",
			s.progress, s.target.Origin, doubtRange),
		Hint: "compare the survivors by hand",
	}
}

// Proven reports whether T is shown to have the transaction at its progress, with
// nothing but T to ask: no transaction was aborted since the newest that T committed
// for F, so no abort can have moved the progress. An abort of T's own applications
// takes the proof away, too; false means that another survivor's log, which a
// Replay reads, has to tell.
func (s *Session) Proven(ctx context.Context) (bool, error) {
	const query = `
SELECT coalesce(bool_and(pg_catalog.pg_xact_status(a.id::text::xid8) IS DISTINCT FROM 'aborted'), true), count(DISTINCT c.id) > 0
FROM (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS next) m
CROSS JOIN LATERAL (
  SELECT w.id FROM (
    SELECT x.id, pg_catalog.pg_xact_commit_timestamp_origin((x.id %% 4294967296)::text::xid) AS w
    FROM (SELECT pg_catalog.generate_series(m.next - 1, greatest(m.next - %d, 3), -1) AS id OFFSET 0) x
    WHERE x.id %% 4294967296 >= 3 OFFSET 0
  ) w WHERE (w.w).roident IN (%s) LIMIT 1
) c
LEFT JOIN LATERAL pg_catalog.generate_series(c.id + 1, m.next - 1) AS a(id) ON true`
	got, err := rows(ctx, s.conn, fmt.Sprintf(query, doubtRange, commas(s.own)))
	if err != nil {
		return false, s.wrap(fmt.Errorf("prove the progress of %s: %w", s.target.Origin, err))
	}
	return isTrue(got[0][0]) && isTrue(got[0][1]), nil
}
