package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/topology"
)

// Commit is a transaction in a server's log.
type Commit struct {
	// Begin is where its commit record begins: a slot confirmed up to there
	// still has it.
	Begin topology.LSN
	// At is its commit timestamp, its author's where it came from another node.
	At time.Time
}

// scanned is how many changes are decoded in one statement.
const scanned = 20000

// FirstCommit finds the first transaction behind the slot whose commit timestamp
// is when or later; false when there is none. It decodes the log through a
// temporary copy of the slot with pgoutput: a transaction that changed nothing
// that any publication of the server has is not seen. ctx bounds it.
func (s *Server) FirstCommit(ctx context.Context, slot string, when time.Time) (Commit, bool, error) {
	cfg := s.session.Copy()
	cfg.RuntimeParams["statement_timeout"] = "0"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return Commit{}, false, s.wrap(ctx, err)
	}
	defer Hangup(conn.PgConn()) // and with the session the copy goes
	var copied string
	err = conn.QueryRow(ctx, `SELECT slot_name FROM pg_copy_logical_replication_slot(
		$1, 'healer_scan_' || pg_backend_pid() || '_s', true, 'pgoutput')`, slot).Scan(&copied)
	if err != nil {
		return Commit{}, false, s.wrap(ctx, err)
	}
	c, ok, err := scan(ctx, conn, copied, when)
	return c, ok, s.wrap(ctx, err)
}

// AnyOrigin is an expression: the option of pgoutput by which what other nodes have
// written is decoded too, as an array. Before 16 there is no such option, nor any need.
const AnyOrigin = `CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ARRAY['origin', 'any'] ELSE '{}' END`

// beginsSQL reads the BEGIN messages of pgoutput: a byte, the LSN of the commit
// record, and the commit timestamp in microseconds since 2000.
const beginsSQL = `WITH changes AS MATERIALIZED (
		SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, $3, VARIADIC ARRAY['proto_version', '1',
			'publication_names', (SELECT string_agg(quote_ident(pubname), ',') FROM pg_publication)] || ` + AnyOrigin + `)
	), begins AS (
		SELECT ('x' || encode(substring(data FROM 2 FOR 8), 'hex'))::bit(64)::bigint AS at,
			('x' || encode(substring(data FROM 10 FOR 8), 'hex'))::bit(64)::bigint AS us
		FROM changes WHERE get_byte(data, 0) = ascii('B')
	)
	SELECT (SELECT count(*) FROM changes), b.at, b.us FROM (SELECT) one
	LEFT JOIN (SELECT * FROM begins WHERE us >= $2 ORDER BY at LIMIT 1) b ON true`

func scan(ctx context.Context, conn *pgx.Conn, slot string, when time.Time) (Commit, bool, error) {
	epoch := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	for {
		var n int64
		var at, us *int64
		err := conn.QueryRow(ctx, beginsSQL, slot, when.Sub(epoch).Microseconds(), scanned).Scan(&n, &at, &us)
		switch {
		case err != nil:
			return Commit{}, false, err
		case at != nil && us != nil:
			return Commit{
				Begin: topology.LSN(*at), //nolint:gosec // 64 bits as they were written
				At:    epoch.Add(time.Duration(*us) * time.Microsecond),
			}, true, nil
		case n == 0:
			return Commit{}, false, nil
		}
	}
}
