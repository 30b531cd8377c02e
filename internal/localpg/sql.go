package localpg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, dsn)
}

// Connect opens a connection to the server's database; the caller closes it.
func (s *Server) Connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := connect(ctx, s.DSN())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name(), err)
	}
	return conn, nil
}

// Exec runs SQL on the server's database in a session of its own. Without
// arguments it may hold several statements, which then are one transaction.
func (s *Server) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return s.execIn(ctx, s.DSN(), sql, args...)
}

func (s *Server) execIn(ctx context.Context, dsn, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	conn, err := connect(ctx, dsn)
	if err != nil {
		return tag, fmt.Errorf("%s: %w", s.Name(), err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if len(args) > 0 {
		tag, err = conn.Exec(ctx, sql, args...)
	} else {
		var results []*pgconn.Result
		if results, err = conn.PgConn().Exec(ctx, sql).ReadAll(); err == nil && len(results) > 0 {
			tag = results[len(results)-1].CommandTag
		}
	}
	if err != nil {
		return tag, fmt.Errorf("%s: %w", s.Name(), err)
	}
	return tag, nil
}

// CreateDatabase makes a database unless it exists.
func (s *Server) CreateDatabase(ctx context.Context, name string) error {
	conn, err := connect(ctx, s.DSNFor(superuser))
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name(), err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var there bool
	err = conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, name).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize())
	}
	if err != nil {
		return fmt.Errorf("%s: create database %s: %w", s.Name(), name, err)
	}
	return nil
}

// Connector opens sessions, as a *Server does.
type Connector interface {
	Connect(ctx context.Context) (*pgx.Conn, error)
}

// Rows runs a query in a session of its own and returns its rows, each as scan
// (such as pgx.RowToStructByPos) makes a T of it.
func Rows[T any](ctx context.Context, on Connector, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	conn, err := on.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// Column runs a query and returns its first column.
func Column[T any](ctx context.Context, on Connector, sql string, args ...any) ([]T, error) {
	return Rows(ctx, on, pgx.RowTo[T], sql, args...)
}

// Value runs a query for exactly one value.
func Value[T any](ctx context.Context, on Connector, sql string, args ...any) (T, error) {
	var zero T
	got, err := Column[T](ctx, on, sql, args...)
	if err != nil {
		return zero, err
	}
	if len(got) != 1 {
		return zero, fmt.Errorf("%d rows where one was expected: %s", len(got), sql)
	}
	return got[0], nil
}
