package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// JSON runs a query that returns one row of one JSON value and decodes it. A
// SELECT built with jsonb_build_object reads any number of catalogs in one
// round trip and one snapshot. No row is an error (pgx.ErrNoRows).
func (s *Server) JSON(ctx context.Context, into any, sql string, args ...any) error {
	var raw []byte
	err := s.use(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, sql, args...).Scan(&raw) })
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: answer of the server: %w", s.name, err)
	}
	return nil
}

// Exec runs one statement.
func (s *Server) Exec(ctx context.Context, sql string, args ...any) error {
	return s.use(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql, args...)
		return err
	})
}

// Tx runs fn in one READ COMMITTED transaction and commits it if fn returns
// nil. Every SET in settings, such as "lock_timeout = '2s'", holds for this
// transaction alone.
func (s *Server) Tx(ctx context.Context, settings []string, fn func(Tx) error) error {
	return s.use(ctx, func(c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			if err := setLocal(ctx, tx, settings); err != nil {
				return err
			}
			return fn(tx)
		})
	})
}

// use runs fn on a connection of the pool that has just answered: one may have
// died with its server while it lay there, and that must not make a living
// server look dead. A connection that broke leaves the pool at once. (The driver
// cancels what ran on it in the background, for many seconds when the server
// hangs; the pool would be full of those, and of no use when the server is back.)
func (s *Server) use(ctx context.Context, fn func(*pgx.Conn) error) error {
	for try := 0; ; try++ {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return s.wrap(ctx, err)
		}
		alive := conn.Ping(ctx)
		if alive == nil {
			err = fn(conn.Conn())
		}
		if conn.Conn().IsClosed() {
			conn.Hijack()
		} else {
			conn.Release()
		}
		if alive == nil {
			return s.wrap(ctx, err)
		}
		if try == maxConns || ctx.Err() != nil {
			return s.wrap(ctx, alive)
		}
	}
}

// Slow runs one statement that may take longer than the pool's statement
// timeout, bounded by ctx alone, on a connection of its own, and scans its only
// row into dest, if any. When ctx ends, the statement is cancelled at the
// server, and Slow returns when it has ended there.
func (s *Server) Slow(ctx context.Context, sql string, args []any, dest ...any) error {
	cfg := s.session.Copy()
	cfg.RuntimeParams["statement_timeout"] = "0"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return s.wrap(ctx, err)
	}
	defer Hangup(conn.PgConn())
	if len(dest) == 0 {
		_, err = conn.Exec(ctx, sql, args...)
	} else {
		err = conn.QueryRow(ctx, sql, args...).Scan(dest...)
	}
	return s.wrap(ctx, err)
}

func setLocal(ctx context.Context, tx pgx.Tx, settings []string) error {
	if len(settings) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, "SET LOCAL "+strings.Join(settings, "; SET LOCAL "), Simple)
	return err
}

// Ident quotes an SQL identifier.
func Ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// Simple is, as the first argument of Tx.Exec, what allows several statements
// in one string.
const Simple = pgx.QueryExecModeSimpleProtocol

// Literal quotes a string constant of SQL.
func Literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}
