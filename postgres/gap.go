package postgres

import (
	"context"
	"fmt"
	"hash/fnv"

	"healer/postgres/mark"
	"healer/topology"
)

// LockWait bounds how long a transaction that changes marks or subscriptions
// waits for a lock, so that a healer never queues behind, and so never blocks
// others behind, somebody's long transaction. It is a setting for Tx.
const LockWait = "lock_timeout = '2s'"

// MarkGap leaves the durable mark that (from, to] of the lost node is being
// carried to this server, and returns the mark as it now is. One lost node has
// one mark: where there is one already, its From stays, because the keys
// touched since must be verified, and its To becomes to. Atomic and repeatable.
func (s *Server) MarkGap(ctx context.Context, lost string, from, to topology.LSN) (topology.GapMark, error) {
	if to < from {
		return topology.GapMark{}, topology.Faultf(topology.Permanent, "gap_backwards", "gap of %s ends at %v before it begins at %v", lost, to, from)
	}
	var made topology.GapMark
	err := s.Tx(ctx, []string{LockWait}, func(tx Tx) error {
		old, err := s.lockGaps(ctx, tx, lost)
		if err != nil {
			return err
		}
		for i, g := range old {
			if i == 0 || g.From < from {
				from = g.From
			}
		}
		name := mark.Gap(s.Database(), lost, from, to)
		made = topology.GapMark{Origin: lost, From: from, To: to, Mark: name}
		exists := false
		for _, g := range old {
			if exists = exists || g.Mark == name; g.Mark == name {
				continue
			}
			if err := DropMark(ctx, tx, g.Mark); err != nil {
				return err
			}
		}
		if exists {
			return nil
		}
		return CreateMark(ctx, tx, name)
	})
	return made, err
}

// UnmarkGap removes the mark of the lost node's gap up to to. No mark is no
// error; one that reaches further is a conflict ("gap_grew"): another agent is
// carrying more.
func (s *Server) UnmarkGap(ctx context.Context, lost string, to topology.LSN) error {
	return s.Tx(ctx, []string{LockWait}, func(tx Tx) error {
		old, err := s.lockGaps(ctx, tx, lost)
		if err != nil {
			return err
		}
		for _, g := range old {
			if g.To > to {
				return &topology.Fault{
					Class: topology.Conflict, Code: "gap_grew", Node: s.name,
					Err: fmt.Errorf("gap of %s reaches to %v, only %v is verified", lost, g.To, to),
				}
			}
			if err := DropMark(ctx, tx, g.Mark); err != nil {
				return err
			}
		}
		return nil
	})
}

// Gaps reads the gap marks of the server's database.
func (s *Server) Gaps(ctx context.Context) ([]topology.GapMark, error) {
	var names []string
	if err := s.JSON(ctx, &names, "SELECT "+MarksJSON); err != nil {
		return nil, err
	}
	gaps := []topology.GapMark{}
	for _, name := range names {
		if g, ok := mark.ParseGap(s.Database(), name); ok {
			gaps = append(gaps, g)
		}
	}
	return gaps, nil
}

// MarksJSON is an expression: the names of all marks on the server, of all
// databases, as a JSON array in order.
const MarksJSON = `coalesce((
	SELECT jsonb_agg(roname ORDER BY roname) FROM pg_replication_origin WHERE roname LIKE 'healer:%'
), '[]')`

// MadeJSON is an expression: the transaction that made each of those marks, as a JSON
// object. Nothing updates a row of pg_replication_origin, so its xmin stays, frozen or
// not, and a mark that is removed and made again has another.
const MadeJSON = `coalesce((
	SELECT jsonb_object_agg(roname, xmin::text::bigint) FROM pg_replication_origin WHERE roname LIKE 'healer:%'
), '{}')`

// lockGaps serialises the writers of one lost node's gap marks and reads them.
func (s *Server) lockGaps(ctx context.Context, tx Tx, lost string) ([]topology.GapMark, error) {
	prefix := mark.GapsOf(s.Database(), lost)
	names, err := LockMarks(ctx, tx, prefix)
	if err != nil {
		return nil, err
	}
	var gaps []topology.GapMark
	for _, name := range names {
		if g, ok := mark.ParseGap(s.Database(), name); ok && g.Origin == lost {
			gaps = append(gaps, g)
		}
	}
	return gaps, nil
}

// LockMarks serialises, until the end of the transaction, everybody who
// changes marks with that prefix, and returns the marks there are.
func LockMarks(ctx context.Context, tx Tx, prefix string) ([]string, error) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(prefix))
	key := int64(h.Sum64()) //nolint:gosec // any 64 bits will do
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", key); err != nil {
		return nil, err
	}
	// A statement of its own: its snapshot is younger than the lock.
	rows, err := tx.Query(ctx, "SELECT roname FROM pg_replication_origin WHERE starts_with(roname, $1) ORDER BY roname", prefix)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// CreateMark makes a mark in the transaction.
func CreateMark(ctx context.Context, tx Tx, name string) error {
	_, err := tx.Exec(ctx, "SELECT pg_replication_origin_create($1)", name)
	return err
}

// DropMark removes a mark in the transaction.
func DropMark(ctx context.Context, tx Tx, name string) error {
	_, err := tx.Exec(ctx, "SELECT pg_replication_origin_drop($1)", name)
	return err
}
