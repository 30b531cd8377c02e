package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Server is the handle on one node's PostgreSQL. It is safe for concurrent use.
type Server struct {
	name     string
	endpoint Endpoint
	// session is the configuration of connections outside the pool.
	session *pgx.ConnConfig
	pool    *pgxpool.Pool
	sockets *sockets
}

// Open makes the handle of the node called name. It only parses: connections
// are made when they are needed. The error says what is wrong with the DSN
// without quoting it. Close must be called in the end.
func Open(name, dsn string) (*Server, error) {
	cfg, err := parse(dsn)
	if err != nil {
		return nil, fmt.Errorf("dsn of node %s: %w", name, err)
	}
	c := cfg.ConnConfig
	session := c.Copy()
	pooled := newSockets(c.ConnectTimeout)
	c.DialFunc = pooled.dial
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	return &Server{
		name: name, session: session, pool: pool, sockets: pooled,
		endpoint: Endpoint{Host: c.Host, Port: c.Port, Database: c.Database},
	}, nil
}

// Name is the node's name.
func (s *Server) Name() string { return s.name }

// Database is the database of the mesh on this node.
func (s *Server) Database() string { return s.endpoint.Database }

// Endpoint is where the DSN leads to.
func (s *Server) Endpoint() Endpoint { return s.endpoint }

// Close ends the pool, after a moment for statements that are being cancelled,
// and waits until its connections have gone. Sessions handed out live on.
func (s *Server) Close() {
	ending := time.AfterFunc(cancelGrace, s.sockets.close)
	defer ending.Stop()
	s.pool.Close()
	s.sockets.close()
}

// Session opens a connection of its own, outside the pool and without a
// statement timeout, for work that holds a lock, an origin or a stream of
// statements. The caller closes it.
func (s *Server) Session(ctx context.Context) (*pgconn.PgConn, error) {
	return s.connect(ctx, nil)
}

// Replication opens a connection that understands the replication commands
// beside SQL (replication=database). The caller closes it.
func (s *Server) Replication(ctx context.Context) (*pgconn.PgConn, error) {
	return s.connect(ctx, map[string]string{"replication": "database"})
}

func (s *Server) connect(ctx context.Context, params map[string]string) (*pgconn.PgConn, error) {
	cfg := s.session.Config.Copy()
	cfg.RuntimeParams["statement_timeout"] = "0"
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	maps.Copy(cfg.RuntimeParams, params)
	cfg.BuildContextWatcherHandler = breakOff
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	return conn, nil
}

// Ask runs a query that returns one row of one JSON value at the other end of a
// connection string that is not a node's own, such as a subscription's. Errors
// are Faults without a node and never quote the string.
func Ask(ctx context.Context, conninfo string, into any, sql string) error {
	cfg, err := pgx.ParseConfig(conninfo)
	if err != nil {
		return redact(conninfo, err)
	}
	clear(cfg.RuntimeParams)
	prepare(&cfg.Config)
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return Wrap("", err)
	}
	defer Hangup(conn.PgConn())
	var raw []byte
	if err := conn.QueryRow(ctx, sql).Scan(&raw); err != nil {
		return Wrap("", err)
	}
	return json.Unmarshal(raw, into)
}

// Hangup closes a connection handed out by Session or Replication, and does
// not wait long for a server that no longer answers.
func Hangup(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), cancelGrace)
	defer cancel()
	_ = conn.Close(ctx) // the socket is closed whatever the error
}

// wrap is Wrap with a context to tell whose deadline it was that passed.
func (s *Server) wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && interrupted(err) {
		return fmt.Errorf("%s: %w", s.name, errors.Join(cause, err))
	}
	return Wrap(s.name, err)
}

// Tx is a transaction; its errors are not yet wrapped, Server.Tx does that.
type Tx = pgx.Tx
