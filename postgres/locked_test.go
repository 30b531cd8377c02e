package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/internal/localpg/pgtest"
	"healer/postgres"
)

// Whoever keeps Healer waiting, by a table or by a row, is named with what ends it; and
// nobody once it has gone.
func TestWaitingNamesTheStranger(t *testing.T) {
	t.Parallel()
	_, dsn := shared.Database(t)
	s, ctx := open(t, dsn), t.Context()
	if err := s.Exec(ctx, "CREATE TABLE public.t AS SELECT 1 AS id"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ lock, want string }{
		"a table": {"LOCK TABLE public.t", "SELECT FROM public.t"},
		"a row":   {"UPDATE public.t SET id = 2", "SELECT id FROM public.t FOR UPDATE"},
	} {
		stranger, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Exec(ctx, "BEGIN; "+c.lock, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		var asking sync.WaitGroup
		asking.Go(func() {
			if err := s.Slow(ctx, c.want, nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		pid := stranger.PgConn().PID()
		pgtest.Eventually(t, time.Minute, name+" is named", func() error {
			f, err := s.Waiting(ctx)
			if err != nil || f == nil {
				return errors.Join(errors.New("nobody waits"), err)
			}
			if f.Code != postgres.CodeLocked || f.Node != "n1" || !strings.Contains(f.Err.Error(), fmt.Sprintf("public.t on n1 is locked by session %d", pid)) ||
				!strings.Contains(f.Err.Error(), ", Healer, waits for it") || !strings.Contains(f.Hint, fmt.Sprintf("pg_terminate_backend(%d)", pid)) {
				return fmt.Errorf("%w; %s", f.Err, f.Hint)
			}
			return nil
		})
		if _, err := stranger.Exec(ctx, "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		asking.Wait()
		if f, err := s.Waiting(ctx); f != nil || err != nil {
			t.Errorf("%s: %v, %v once it has gone", name, f, err)
		}
		_ = stranger.Close(ctx)
	}
}
