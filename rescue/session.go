package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// Target names the laggard and what it applies F's transactions under.
type Target struct {
	// Node is T.
	Node string
	// Origin is F.
	Origin string
	// OriginName is the name of T's replication origin for F.
	OriginName string
	// Authors maps the names of T's replication origins to nodes; it decides
	// who wrote a row of T. T's own writes have no origin. An id that commits have
	// and no origin is named by topology.WriterName.
	Authors map[string]string
	// Conflicts is what becomes of a change of F that meets another node's.
	Conflicts Resolution
}

// Session is the right to apply F's transactions on T. It is one database
// session: when its connection ends, for whatever reason, the server releases
// the lock and the origin and aborts what was being applied.
type Session struct {
	target   Target
	conn     *pgconn.PgConn
	progress topology.LSN
	// own is the id of T's origin for F, with those others under which F's transactions are applied. mine are T's
	// origins whose writes are F's; greater those of nodes which win against F when the commit timestamps are equal.
	own, mine, greater []uint32
	// authors are the nodes behind all of T's origins.
	authors map[uint32]string
	tables  map[topology.TableName]*table
}

// NewSession takes the recovery lock of the origin and the origin itself in the
// session of conn, and reads T's progress. The connection belongs to the session
// from then on; it is closed when the session cannot be had. It fails with a Fault of class Conflict and code "lock_held" when
// another session has either, and "origin_missing" when T has no such origin.
func NewSession(ctx context.Context, conn *pgconn.PgConn, target Target) (*Session, error) {
	s := &Session{target: target, conn: conn, tables: map[topology.TableName]*table{}}
	if err := s.take(ctx); err != nil {
		// What was taken so far must not outlive the attempt.
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// take takes the lock, the origin, and what has to be known of T.
func (s *Session) take(ctx context.Context) error {
	if err := configure(ctx, s.conn, append(writerSettings(),
		// Durability comes with the flush at the end; until then a crash of T
		// takes the progress back together with the rows.
		setting{"synchronous_commit", "off"})); err != nil {
		return s.wrap(err)
	}
	if err := lock(ctx, s.conn, "pg_try_advisory_lock", s.target.Node, s.target.Origin); err != nil {
		return err
	}
	if err := s.takeOrigin(ctx); err != nil {
		return err
	}
	err := s.readAuthors(ctx)
	if err != nil {
		return err
	}
	s.progress, err = s.readProgress(ctx, false)
	return err
}

// KeepOut takes the recovery lock of an origin on a node in shared mode for the session of
// conn, until that ends: as long as somebody has it, nobody has a Session there, and the
// other way round. It fails with a Fault of class Conflict and code "lock_held" then.
func KeepOut(ctx context.Context, conn *pgconn.PgConn, node, origin string) error {
	if _, err := rows(ctx, conn, `SELECT pg_catalog.set_config('application_name', $1, false)`, []byte(topology.RejoinSession)); err != nil {
		return fmt.Errorf("%s: recovery lock: %w", node, err)
	}
	return lock(ctx, conn, "pg_try_advisory_lock_shared", node, origin)
}

func lock(ctx context.Context, conn *pgconn.PgConn, by, node, origin string) error {
	got, err := rows(ctx, conn, `SELECT pg_catalog.`+by+`($1)`, strconv.AppendInt(nil, topology.RecoveryLock(origin), 10))
	if err != nil {
		return fmt.Errorf("%s: recovery lock: %w", node, err)
	}
	if !isTrue(got[0][0]) {
		return held(node, errors.New("another session holds the recovery lock of "+origin))
	}
	return nil
}

// Progress is the last commit LSN of F which T has applied.
func (s *Session) Progress() topology.LSN { return s.progress }

// Close releases the lock and the origin by ending the database session.
func (s *Session) Close(ctx context.Context) error { return s.conn.Close(ctx) }

func (s *Session) takeOrigin(ctx context.Context) error {
	_, err := rows(ctx, s.conn, `SELECT pg_catalog.pg_replication_origin_session_setup($1)`,
		[]byte(s.target.OriginName))
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pg) && pg.Code == "55006": // object_in_use
		return held(s.target.Node, err)
	case errors.As(err, &pg) && pg.Code == "42704": // undefined_object
		return &topology.Fault{
			Class: topology.Permanent, Code: "origin_missing", Node: s.target.Node, Err: err,
			Hint: "the subscription to " + s.target.Origin + " was dropped: rebuild the node",
		}
	default:
		return s.wrap(err)
	}
}

func held(node string, err error) error {
	return &topology.Fault{
		Class: topology.Conflict, Code: "lock_held", Node: node, Err: err,
		Hint: "whoever holds it carries on; observe again",
	}
}

func (s *Session) readProgress(ctx context.Context, flush bool) (topology.LSN, error) {
	got, err := rows(ctx, s.conn,
		`SELECT coalesce(pg_catalog.pg_replication_origin_session_progress($1), '0/0')`,
		strconv.AppendBool(nil, flush))
	if err != nil {
		return 0, s.wrap(err)
	}
	return topology.ParseLSN(string(got[0][0]))
}

// readAuthors sorts T's origins by what their rows mean to a change of F.
func (s *Session) readAuthors(ctx context.Context) error {
	authors, err := readAuthors(ctx, s.conn, s.target.Node, s.target.Authors)
	if err != nil {
		return s.wrap(err)
	}
	got, err := rows(ctx, s.conn, `SELECT pg_catalog.pg_replication_origin_oid($1)`, []byte(s.target.OriginName))
	if err != nil {
		return s.wrap(err)
	}
	id, err := strconv.ParseUint(string(got[0][0]), 10, 32)
	if err != nil {
		return s.wrap(err)
	}
	authors[uint32(id)] = s.target.Origin
	s.authors, s.own = authors, []uint32{uint32(id)}
	for writer, node := range writers(s.target.Authors) {
		if node == s.target.Origin {
			s.own = append(s.own, writer)
		}
	}
	for id, node := range authors {
		switch {
		case node == s.target.Origin:
			s.mine = append(s.mine, id)
		case node > s.target.Origin:
			s.greater = append(s.greater, id)
		}
	}
	slices.Sort(s.mine)
	slices.Sort(s.greater)
	return nil
}

// readAuthors returns the author of each origin of a server by its id; 0 stands
// for the server itself, and an origin outside the mesh has the author "".
func readAuthors(ctx context.Context, conn *pgconn.PgConn, node string, names map[string]string) (map[uint32]string, error) {
	got, err := rows(ctx, conn, `SELECT roident, roname FROM pg_catalog.pg_replication_origin`)
	if err != nil {
		return nil, fmt.Errorf("read replication origins: %w", err)
	}
	authors := map[uint32]string{0: node}
	for _, r := range got {
		id, err := strconv.ParseUint(string(r[0]), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read replication origins: %w", err)
		}
		authors[uint32(id)] = author(names, string(r[1]))
	}
	for id, author := range writers(names) {
		if other, taken := authors[id]; taken && other != author {
			return nil, &topology.Fault{
				Class: topology.Permanent, Code: "origin_ambiguous", Node: node,
				Err:  fmt.Errorf("id %d in its commits stands for node %s, and for replication origin %d", id, author, id),
				Hint: "drop that replication origin, or rename the node: the id is a hash of its name",
			}
		}
		authors[id] = author
	}
	return authors, nil
}

// writers are the nodes whose ids are in commits without being those of origins.
func writers(names map[string]string) map[uint32]string {
	ids := map[uint32]string{}
	for name, node := range names {
		if id, ok := topology.ParseWriterName(name); ok {
			ids[id] = node
		}
	}
	return ids
}

// Reach moves T's progress to the watermark and makes all of it durable. An
// empty transaction does it, as the server's own apply worker would: it needs an
// id of its own to write a commit record, and that record carries the origin's
// position. Its synchronous commit flushes whatever came before it.
func (s *Session) Reach(ctx context.Context, watermark topology.LSN) error {
	to := max(watermark, s.progress)
	sql := fmt.Sprintf(`BEGIN;
SET LOCAL synchronous_commit = local;
SELECT pg_catalog.pg_replication_origin_xact_setup('%s', '%s');
SELECT pg_catalog.pg_current_xact_id();
COMMIT`, to, timestamp(reachedTime(to)))
	if err := s.conn.Exec(ctx, sql).Close(); err != nil {
		return s.wrap(fmt.Errorf("move progress to %s: %w", to, err))
	}
	got, err := s.readProgress(ctx, true)
	if err != nil {
		return err
	}
	if got < watermark {
		return &topology.Fault{
			Class: topology.Permanent, Code: "progress_short", Node: s.target.Node,
			Err: fmt.Errorf("progress of %s is %s after the replay: the watermark is %s",
				s.target.Origin, got, watermark),
		}
	}
	s.progress = got
	return nil
}

// putBack corrects the progress of a session whose transaction was aborted after
// its position had been set: PostgreSQL has moved the origin all the same. What
// was committed is known from the answers.
func (s *Session) putBack(ctx context.Context) error {
	got, err := s.readProgress(ctx, false)
	if err != nil || got == s.progress {
		return err
	}
	// The lock keeps everyone else away from the origin in between.
	sql := fmt.Sprintf(`SELECT pg_catalog.pg_replication_origin_session_reset();
SELECT pg_catalog.pg_replication_origin_advance(%s, '%s');
SELECT pg_catalog.pg_replication_origin_session_setup(%s)`,
		quoteLiteral(s.target.OriginName), s.progress, quoteLiteral(s.target.OriginName))
	if err := s.conn.Exec(ctx, sql).Close(); err != nil {
		return s.wrap(fmt.Errorf("put progress back to %s: %w", s.progress, err))
	}
	return nil
}

func (s *Session) wrap(err error) error {
	return fmt.Errorf("apply session of %s on %s: %w", s.target.Origin, s.target.Node, err)
}
