package postgres_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

var shared pgtest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

func open(t *testing.T, dsn string) *postgres.Server {
	t.Helper()
	s, err := postgres.Open("n1", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func fresh(t *testing.T) *postgres.Server {
	t.Helper()
	_, dsn := shared.Database(t)
	return open(t, dsn)
}

func TestFlushCoversAsynchronousCommits(t *testing.T) {
	s := fresh(t)
	ctx := t.Context()
	var written topology.LSN
	err := s.Tx(ctx, []string{"synchronous_commit = off"}, func(tx postgres.Tx) error {
		_, err := tx.Exec(ctx, "CREATE TABLE public.t (a int)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.JSON(ctx, &written, "SELECT to_jsonb(pg_current_wal_insert_lsn())"); err != nil {
		t.Fatal(err)
	}
	flushed, err := s.Flush(ctx)
	if err != nil || flushed < written {
		t.Fatalf("flushed %v, written %v: %v", flushed, written, err)
	}
}

func TestProgressOfAnUnknownOrigin(t *testing.T) {
	s := fresh(t)
	ctx := t.Context()
	if _, err := s.Progress(ctx, "nobody", true); !postgres.Is(err, "42704") {
		t.Errorf("an origin that does not exist: %v", err)
	}
	origin := "test:" + s.Database()
	if err := s.Exec(ctx, "SELECT pg_replication_origin_create($1)", origin); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Exec(context.WithoutCancel(ctx), "SELECT pg_replication_origin_drop($1)", origin) }()
	if lsn, err := s.Progress(ctx, origin, true); err != nil || lsn != 0 {
		t.Errorf("an origin nothing was replayed for: %v, %v", lsn, err)
	}
}

func TestGapMarkGrowsAndKeepsItsBeginning(t *testing.T) {
	s := fresh(t)
	ctx := t.Context()
	must := func(from, to, wantFrom topology.LSN) {
		t.Helper()
		got, err := s.MarkGap(ctx, "n2", from, to)
		if err != nil {
			t.Fatal(err)
		}
		want := topology.GapMark{Origin: "n2", From: wantFrom, To: to, Mark: mark.Gap(s.Database(), "n2", wantFrom, to)}
		gaps, err := s.Gaps(ctx)
		if err != nil || len(gaps) != 1 || gaps[0] != want || got != want {
			t.Fatalf("gaps %v, returned %v, want %v (%v)", gaps, got, want, err)
		}
	}
	must(10, 20, 10)
	must(10, 20, 10) // again
	must(15, 30, 10) // more of it, by an agent that resumes
	must(18, 25, 10) // the source with the rest died
	if err := s.UnmarkGap(ctx, "n2", 24); !postgres.Is(err, "gap_grew") || topology.ClassOf(err) != topology.Conflict {
		t.Errorf("unmarking a part: %v", err)
	}
	for range 2 {
		if err := s.UnmarkGap(ctx, "n2", 25); err != nil {
			t.Fatal(err)
		}
	}
	if gaps, err := s.Gaps(ctx); err != nil || len(gaps) != 0 {
		t.Errorf("left: %v, %v", gaps, err)
	}
	if _, err := s.MarkGap(ctx, "n2", 2, 1); !postgres.Is(err, "gap_backwards") {
		t.Errorf("backwards: %v", err)
	}
}

func TestGapMarkedByManyAtOnceIsOne(t *testing.T) {
	s := fresh(t)
	var wg sync.WaitGroup
	for i := range topology.LSN(8) {
		wg.Go(func() {
			if _, err := s.MarkGap(t.Context(), "n2", 10, 20+i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	gaps, err := s.Gaps(t.Context())
	if err != nil || len(gaps) != 1 || gaps[0].From != 10 {
		t.Fatalf("gaps %v, %v", gaps, err)
	}
	if err := s.UnmarkGap(t.Context(), "n2", gaps[0].To); err != nil {
		t.Fatal(err)
	}
}

// A statement whose context ends must end at the server too, and its
// connection must be of use again.
func TestCancelledStatementEndsAtTheServer(t *testing.T) {
	s := fresh(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := s.Slow(ctx, "SELECT pg_sleep(600)", nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	var running int
	if err := s.JSON(t.Context(), &running, `SELECT to_jsonb(count(*)) FROM pg_stat_activity
		WHERE query LIKE '%pg_sleep(600)%' AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()`); err != nil || running != 0 {
		t.Errorf("%d still run: %v", running, err)
	}
}

func TestPoolOutlivesItsServer(t *testing.T) {
	server := pgtest.Server(t, localpg.ServerOptions{})
	s := open(t, server.DSN())
	if _, err := s.FlushedLSN(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.FlushedLSN(t.Context()); topology.ClassOf(err) != topology.Transient {
		t.Errorf("a dead server: %v", err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.FlushedLSN(t.Context()); err != nil {
		t.Errorf("a server that is back: %v", err)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	_, dsn := shared.Database(t)
	before := goleak.IgnoreCurrent()
	s, err := postgres.Open("n1", dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := s.Flush(ctx); return err },
		func(ctx context.Context) error {
			conn, err := s.Session(ctx)
			if err == nil {
				_, err = conn.Exec(ctx, "SELECT set_config('application_name', 'x', false)").ReadAll()
				postgres.Hangup(conn)
			}
			return err
		},
		func(ctx context.Context) error {
			conn, err := s.Replication(ctx)
			if err == nil {
				_, err = conn.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
				postgres.Hangup(conn)
			}
			return err
		},
	} {
		if err := open(t.Context()); err != nil {
			t.Error(err)
		}
	}
	s.Close()
	goleak.VerifyNone(t, before)
}

func TestSlotsOfAServer(t *testing.T) {
	s := fresh(t)
	ctx := t.Context()
	name := "slot_" + s.Database()
	defer func() { _ = s.DropSlot(context.WithoutCancel(ctx), name, false) }()
	if err := s.CreateSlot(ctx, name, "pgoutput"); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateSlot(ctx, name, "pgoutput"); !postgres.Is(err, "42710") {
		t.Errorf("twice: %v", err)
	}
	slot, ok, err := s.Slot(ctx, name)
	if err != nil || !ok || slot.Plugin != "pgoutput" || slot.Confirmed == 0 || slot.WALStatus == "" {
		t.Fatalf("slot %+v %v %v", slot, ok, err)
	}
	lsn, err := s.Flush(ctx)
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.AdvanceSlot(ctx, name, lsn)
	if err != nil || at < slot.Confirmed || at > lsn {
		t.Fatalf("advanced to %v of %v: %v", at, lsn, err)
	}
	if back, err := s.AdvanceSlot(ctx, name, slot.Confirmed); err != nil || back != at {
		t.Errorf("backwards: %v, %v", back, err)
	}
	if _, err := s.AdvanceSlot(ctx, "nothing", lsn); !errors.Is(err, postgres.ErrNoSlot) {
		t.Errorf("no slot: %v", err)
	}
	for range 2 {
		if err := s.DropSlot(ctx, name, false); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that hangs must not hold up the end of the process.
func TestCloseDoesNotWaitForAHangingServer(t *testing.T) {
	server := pgtest.Server(t, localpg.ServerOptions{})
	before := goleak.IgnoreCurrent()
	s, err := postgres.Open("n1", server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.FlushedLSN(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer server.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.FlushedLSN(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hanging server: %v", err)
	}
	s.Close()
	// Not even what the driver does in the background goes on, although the
	// server still says nothing.
	goleak.VerifyNone(t, before)
}

// A statement that ends with its context is waited for, a moment, because it may hold a
// lock. An answer that nobody wants any more is not: a server that hangs would hold up the
// recovery from its own loss.
func TestUnwantedAnswerIsNotWaitedFor(t *testing.T) {
	server := pgtest.Server(t, localpg.ServerOptions{})
	s := open(t, server.DSN())
	waited, endWaited := context.WithCancelCause(t.Context())
	unwanted, endUnwanted := context.WithCancelCause(t.Context())
	ended := make(chan error, 2)
	for _, ctx := range []context.Context{waited, unwanted} {
		go func() { ended <- s.Exec(ctx, "SELECT pg_catalog.pg_sleep(50)") }()
	}
	for asleep := 0; asleep < 2; {
		if err := s.JSON(t.Context(), &asleep, `SELECT to_jsonb(count(*)) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer server.Thaw()
	endWaited(nil)
	endUnwanted(postgres.ErrUnwanted)
	if err := <-ended; !errors.Is(err, postgres.ErrUnwanted) {
		t.Errorf("first ended what is waited for: %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("what is waited for ended with %v", err)
	}
}
