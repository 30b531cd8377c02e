package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// CodeLocked is the fault of a statement that waited in vain for a lock on a table.
const CodeLocked = "table_locked"

// blockerPoll is how often a statement that waits is asked for whom.
const blockerPoll = 500 * time.Millisecond

// JSONOfTables is JSON for statements that lock users' tables, as the views and
// functions do that look into their definitions. It waits for two seconds (LockWait). Then
// it is a transient fault CodeLocked that names the table, and in its hint the
// session that holds it: DDL that somebody leaves open must not hold up whoever reads.
func (s *Server) JSONOfTables(ctx context.Context, into any, sql string, args ...any) error {
	return s.use(ctx, func(c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			if err := setLocal(ctx, tx, []string{LockWait}); err != nil {
				return err
			}
			whom := s.blocking(ctx, c.PgConn().PID())
			var raw []byte
			err := tx.QueryRow(ctx, sql, args...).Scan(&raw)
			held := whom()
			var pg *pgconn.PgError
			if errors.As(err, &pg) && pg.Code == "55P03" {
				return held.fault(s.name, err)
			}
			if err != nil {
				return err
			}
			return json.Unmarshal(raw, into)
		})
	})
}

// held is what a session waits for, and the sessions that keep it waiting.
type held struct {
	Table string `json:"table"`
	By    []struct {
		PID         int    `json:"pid"`
		Role        string `json:"role"`
		Application string `json:"application"`
		State       string `json:"state"`
		Query       string `json:"query"`
	} `json:"by"`
}

const heldSQL = `SELECT jsonb_build_object(
	'table', coalesce((SELECT n.nspname || '.' || c.relname FROM pg_locks l
		JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE l.pid = $1 AND NOT l.granted LIMIT 1), ''),
	'by', coalesce((SELECT jsonb_agg(jsonb_build_object('pid', b.pid, 'role', coalesce(a.usename, ''),
			'application', coalesce(a.application_name, ''), 'state', coalesce(a.state, ''), 'query', left(coalesce(a.query, ''), 100)) ORDER BY b.pid)
		FROM (SELECT DISTINCT unnest(pg_blocking_pids($1))) AS b(pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid), '[]'))`

// blocking begins to ask, on another connection, whom the session of that process
// waits for. The function it returns ends that and tells the last that was heard.
func (s *Server) blocking(ctx context.Context, pid uint32) func() held {
	ctx, cancel := context.WithCancel(ctx)
	var last held
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(blockerPoll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			var now held
			if s.JSON(ctx, &now, heldSQL, int64(pid)) == nil && len(now.By) > 0 {
				last = now
			}
		}
	})
	return func() held {
		cancel()
		asking.Wait()
		return last
	}
}

// fault names who is in the way.
func (h held) fault(node string, err error) *topology.Fault {
	f := &topology.Fault{
		Class: topology.Transient, Code: CodeLocked, Node: node,
		Hint: "on " + node + ": SELECT * FROM pg_locks WHERE NOT granted shows who waits; end the session that holds the lock, or wait for it",
		Err:  fmt.Errorf("a table of %s is locked: %w", node, err),
	}
	if len(h.By) == 0 {
		return f
	}
	var who, ends []string
	for _, b := range h.By {
		if b.PID == 0 { // pg_blocking_pids has it for these
			who = append(who, "a prepared transaction")
			ends = append(ends, "SELECT gid FROM pg_prepared_xacts, and COMMIT or ROLLBACK PREPARED it")
			continue
		}
		who = append(who, fmt.Sprintf("session %d (role %q, application %q, %s: %s)", b.PID, b.Role, b.Application, b.State, oneLine(b.Query)))
		ends = append(ends, fmt.Sprintf("SELECT pg_terminate_backend(%d)", b.PID))
	}
	what := "table " + h.Table
	if h.Table == "" {
		what = "a row"
	}
	f.Err = fmt.Errorf("%s on %s is locked by %s: %w", what, node, strings.Join(who, " and "), err)
	f.Hint = "wait for it, or on " + node + ": " + strings.Join(ends, "; ")
	return f
}

// waiting is a session that waits, and for whom.
type waiting struct {
	PID  int    `json:"pid"`
	Kind string `json:"kind"`
	held
}

// waitingSQL finds who has waited longest for a lock of a stranger: sessions of Healer's,
// by the role and the application name of the one that asks, and the workers that apply
// what comes from other nodes. Who waits for a row waits for the transaction that wrote it,
// and holds a lock on the tuple meanwhile. Advisory locks are Healer's own.
const waitingSQL = `WITH own AS (
		SELECT pid, backend_type, backend_type LIKE 'logical replication%' AS worker FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND (backend_type LIKE 'logical replication%'
			OR usename = current_user AND application_name = current_setting('application_name'))
	)
	SELECT coalesce((
		SELECT jsonb_build_object('pid', o.pid, 'kind', CASE WHEN o.worker THEN 'the worker that applies what other nodes send' ELSE 'Healer' END,
			'table', coalesce((SELECT n.nspname || '.' || c.relname FROM pg_locks t
				JOIN pg_class c ON c.oid = t.relation JOIN pg_namespace n ON n.oid = c.relnamespace
				WHERE t.pid = o.pid AND (NOT t.granted OR t.locktype = 'tuple') LIMIT 1), ''),
			'by', b.by)
		FROM own o JOIN pg_locks l ON l.pid = o.pid AND NOT l.granted AND l.locktype <> 'advisory'
		CROSS JOIN LATERAL (SELECT jsonb_agg(jsonb_build_object('pid', p.pid, 'role', coalesce(a.usename, ''),
				'application', coalesce(a.application_name, ''), 'state', coalesce(a.state, ''), 'query', left(coalesce(a.query, ''), 100)) ORDER BY p.pid) AS by
			FROM (SELECT DISTINCT unnest(pg_blocking_pids(o.pid))) AS p(pid) LEFT JOIN pg_stat_activity a ON a.pid = p.pid
			WHERE p.pid NOT IN (SELECT pid FROM own)) b
		WHERE l.waitstart < clock_timestamp() - interval '2 seconds' AND b.by IS NOT NULL
		ORDER BY l.waitstart LIMIT 1), 'null')`

// Waiting is a fault CodeLocked that names a stranger's session for whose lock Healer, or
// the replication, has waited for two seconds; nil when nobody waits. Nothing is ended or
// given up for it: what waits goes on when the lock is gone.
func (s *Server) Waiting(ctx context.Context) (*topology.Fault, error) {
	var w *waiting
	if err := s.JSON(ctx, &w, waitingSQL); err != nil || w == nil {
		return nil, err
	}
	return w.fault(s.name, fmt.Errorf("session %d, %s, waits for it", w.PID, w.Kind)), nil
}

// oneLine makes one line of a statement.
func oneLine(sql string) string { return strings.Join(strings.Fields(sql), " ") }
