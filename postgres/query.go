package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// JSON runs a query that returns one row of one JSON value and decodes it. A
// SELECT built with jsonb_build_object reads any number of catalogs in one
// round trip and one snapshot. No row is an error (pgx.ErrNoRows).
func (s *Server) JSON(ctx context.Context, into any, sql string, args ...any) error {
	var raw []byte
	if err := s.pool.QueryRow(ctx, sql, args...).Scan(&raw); err != nil {
		return s.wrap(ctx, err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: answer of the server: %w", s.name, err)
	}
	return nil
}

// Exec runs one statement.
func (s *Server) Exec(ctx context.Context, sql string, args ...any) error {
	_, err := s.pool.Exec(ctx, sql, args...)
	return s.wrap(ctx, err)
}

// Tx runs fn in one READ COMMITTED transaction and commits it if fn returns
// nil. Every SET in settings, such as "lock_timeout = '2s'", holds for this
// transaction alone.
func (s *Server) Tx(ctx context.Context, settings []string, fn func(Tx) error) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := setLocal(ctx, tx, settings); err != nil {
			return err
		}
		return fn(tx)
	})
	return s.wrap(ctx, err)
}

// Slow runs one statement that may take longer than the pool's statement
// timeout, bounded by ctx alone, and scans its only row into dest, if any.
func (s *Server) Slow(ctx context.Context, sql string, args []any, dest ...any) error {
	err := s.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		// Not in a transaction block: several slot functions refuse one that
		// has written, and a snapshot held open would hold back the slot.
		if _, err := c.Exec(ctx, "SET statement_timeout = 0"); err != nil {
			return err
		}
		defer func() {
			// On a connection that broke this fails and the pool drops it.
			_, _ = c.Exec(context.WithoutCancel(ctx), "RESET statement_timeout")
		}()
		if len(dest) == 0 {
			_, err := c.Exec(ctx, sql, args...)
			return err
		}
		return c.QueryRow(ctx, sql, args...).Scan(dest...)
	})
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

// Simple, as the first argument of Tx.Exec, allows several statements in one
// string and sends it unprepared, as some commands demand.
const Simple = pgx.QueryExecModeSimpleProtocol
