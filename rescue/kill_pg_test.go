package rescue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/topology"
)

// mortal is a connection that is closed at the given read or write.
type mortal struct {
	net.Conn
	left *atomic.Int64
}

func (m mortal) spend() {
	if m.left.Add(-1) == 0 {
		_ = m.Conn.Close()
	}
}

func (m mortal) Read(b []byte) (int, error)  { m.spend(); return m.Conn.Read(b) }
func (m mortal) Write(b []byte) (int, error) { m.spend(); return m.Conn.Write(b) }

// connectMortal connects to a node; the connection dies after so many reads and
// writes.
func (l *lab) connectMortal(node, extra string, life int64) (*pgconn.PgConn, error) {
	cfg, err := pgconn.ParseConfig(l.m.Node(node).DSN() + " " + extra)
	l.must(err)
	dial := cfg.DialFunc
	left := new(atomic.Int64)
	left.Store(life)
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return mortal{c, left}, nil
	}
	return pgconn.ConnectConfig(l.Context(), cfg)
}

// attempt replays once over connections that may die; immortal ones have life 0.
func (l *lab) attempt(slot string, sessionLife, streamLife int64) (Report, error) {
	ctx := l.Context()
	conn, err := l.connectMortal("n3", "", sessionLife)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = conn.Close(ctx) }()
	s, err := NewSession(ctx, conn, l.target())
	if err != nil {
		return Report{}, err
	}
	repl, err := l.connectMortal("n2", "replication=database", streamLife)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = repl.Close(ctx) }()
	stream, err := OpenStream(ctx, repl, StreamOptions{
		Node: "n2", Slot: slot, Publications: []string{localpg.Publication}, Until: l.until,
	})
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = stream.Close(ctx) }()
	report, _, err := Replay(ctx, s, stream, l.gap())
	return report, err
}

// TestReplayKilledFiftyTimesAppliesEachTransactionOnce kills the apply session, or
// the stream, or the backend, at fifty random points of one gap.
func TestReplayKilledFiftyTimesAppliesEachTransactionOnce(t *testing.T) {
	const kills = 50
	l := newLab(t, []string{`create table t (id int primary key, v int, pad text)`},
		`insert into t select i, 0, '' from generate_series(1, 20) i`)
	l.exec("n1", `do $$ begin for i in 1..12000 loop
		insert into t values (100000 + i, i, repeat('x', 200));
		update t set v = v + 1 where id = 1 + i % 20;
		if i % 3 = 0 then delete from t where id = 100000 + i - 1; end if;
		commit; end loop; end $$`)
	l.lose()
	l.watch()
	slot := l.clone()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))

	died, partial := 0, 0
	for died < kills {
		var sessionLife, streamLife int64
		if rnd.IntN(4) > 0 {
			sessionLife = 1 + rnd.Int64N(60)
		} else {
			streamLife = 1 + rnd.Int64N(60)
		}
		before := l.progress("n3")
		_, err := l.attempt(slot, sessionLife, streamLife)
		if err == nil {
			continue
		}
		var f *topology.Fault
		if errors.As(err, &f) && f.Class == topology.Conflict {
			continue // the server has not noticed the last death yet
		}
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "55006" {
			continue // nor the stream's
		}
		if errors.As(err, &f) && f.Class == topology.Permanent {
			t.Fatalf("a killed connection gave a permanent fault: %v", err)
		}
		died++
		if after := l.progress("n3"); after > before && after < l.gap().Watermark {
			partial++
		}
	}
	if partial < 5 {
		t.Errorf("only %d of %d kills left a part of the gap applied", partial, died)
	}
	l.eventually("an undisturbed attempt finishes the gap", func() bool {
		_, err := l.attempt(slot, 0, 0)
		return err == nil
	})
	l.drop(slot)
	l.same("t")
	if got, want := l.progress("n3"), l.gap().Watermark; got != want {
		t.Errorf("progress is %s, want %s", got, want)
	}

	// n3's own WAL tells what was committed how often, and in which order.
	var order []topology.LSN
	for _, m := range l.watched("any") {
		if m.kind == msgOrigin && m.origin == l.origin("n3", "n1") {
			order = append(order, m.lsn)
		}
	}
	if len(order) != 12000 {
		t.Errorf("%d transactions of n1 were committed, want 12000", len(order))
	}
	if !slices.IsSorted(order) || len(slices.Compact(slices.Clone(order))) != len(order) {
		t.Error("transactions were committed out of order or twice")
	}
	if got := l.watched("none"); len(got) != 0 {
		t.Errorf("the mesh would forward %d messages from n3", len(got))
	}
}

// TestReplayCrashOfTheLaggard kills T itself between its asynchronous commits: its
// rows and its progress go back together.
func TestReplayCrashOfTheLaggard(t *testing.T) {
	l := newLab(t, []string{`create table t (id int primary key, v int)`})
	l.exec("n1", `do $$ begin for i in 1..20000 loop insert into t values (i, i); commit; end loop; end $$`)
	l.lose()
	slot := l.clone()
	done := make(chan error, 1)
	go func() {
		_, err := l.attempt(slot, 0, 0)
		done <- err
	}()
	l.eventually("the replay is under way", func() bool { return l.progress("n3") > l.floor })
	l.must(l.m.Kill(t.Context(), "n3"))
	if err := <-done; err == nil {
		t.Log("the replay was done before the kill")
	}
	l.must(l.m.Node("n3").Start(t.Context()))
	if rows, commits := l.text("n3", `select count(*)::text from t`), l.progress("n3"); rows == "20000" && commits < l.gap().Watermark {
		t.Errorf("n3 has all rows at progress %s", commits)
	}
	l.eventually("the replay carries on", func() bool {
		_, err := l.attempt(slot, 0, 0)
		var f *topology.Fault
		if errors.As(err, &f) && f.Class == topology.Permanent {
			t.Fatal(err)
		}
		return err == nil
	})
	l.same("t")
}

// TestReplayDoubtsAProgressThatAnAbortHasMoved lets a session die between setting a
// transaction's position and its COMMIT, which moves T's progress without the
// transaction; and, for the opposite, just after a COMMIT.
func TestReplayDoubtsAProgressThatAnAbortHasMoved(t *testing.T) {
	for _, c := range []struct{ commit, earlier bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		commit := c.commit
		t.Run(fmt.Sprintf("committed=%v,earlier recovery=%v", commit, c.earlier), func(t *testing.T) {
			l := newLab(t, []string{`create table t (id int primary key, v int)`})
			for i := range 5 {
				l.exec("n1", fmt.Sprintf(`insert into t values (%d, 0)`, i))
			}
			l.lose()
			slot := l.clone()
			conn := l.connect("n3", "")
			s, err := NewSession(t.Context(), conn, l.target())
			l.must(err)
			stream := l.stream(slot)
			if c.earlier {
				// What an earlier recovery left is F's newest transaction on T.
				l.must(s.Reach(t.Context(), l.floor))
			}
			var first message
			var at int64
			for first.kind != msgOrigin {
				first, err = stream.next(t.Context())
				l.must(err)
				at = max(at, first.time)
			}
			l.must(stream.Close(t.Context()))
			sql := fmt.Sprintf(`begin; insert into public.t values (0, 0);
				select pg_catalog.pg_replication_origin_xact_setup('%s', '%s')`, first.lsn, timestamp(at))
			if commit {
				sql += "; commit; begin; insert into public.t values (99, 0)"
			}
			l.must(conn.Exec(t.Context(), sql).Close())
			l.must(s.Close(t.Context()))
			l.eventually("the server has noticed", func() bool { return l.progress("n3") == first.lsn })
			if commit {
				l.exec("n3", `delete from t where id = 0`) // doing it twice would bring it back
			}
			report, err := Report{}, error(nil)
			l.eventually("the origin is free", func() bool {
				report, err = l.attempt(slot, 0, 0)
				return topology.ClassOf(err) != topology.Conflict
			})
			l.must(err)
			if want := int64(5); !commit && report.Applied != want || commit && report.Applied != want-1 {
				t.Errorf("applied %d transactions", report.Applied)
			}
			l.caughtUp("n2", "n3")
			l.same("t")
		})
	}
}

// TestSessionIsHeldByOne gives the origin and the lock to one session at a time.
func TestSessionIsHeldByOne(t *testing.T) {
	l := newLab(t, []string{`create table t (id int primary key)`})
	_, err := NewSession(t.Context(), l.connect("n3", ""), l.target())
	wantFault(t, err, topology.Conflict, "lock_held") // the apply worker has the origin
	l.lose()
	s, err := NewSession(t.Context(), l.connect("n3", ""), l.target())
	l.must(err)
	_, err = NewSession(t.Context(), l.connect("n3", ""), l.target())
	wantFault(t, err, topology.Conflict, "lock_held")
	l.must(s.Close(t.Context()))
	l.eventually("the lock is free again", func() bool {
		s, err := NewSession(t.Context(), l.connect("n3", ""), l.target())
		if err != nil {
			wantFault(t, err, topology.Conflict, "lock_held")
			return false
		}
		return s.Close(t.Context()) == nil
	})
	missing := l.target()
	missing.OriginName = "pg_1"
	l.eventually("nobody holds the lock", func() bool {
		_, err = NewSession(t.Context(), l.connect("n3", ""), missing)
		return topology.ClassOf(err) != topology.Conflict
	})
	wantFault(t, err, topology.Permanent, "origin_missing")
}

func wantFault(t *testing.T, err error, class topology.Class, code string) {
	t.Helper()
	var f *topology.Fault
	if !errors.As(err, &f) || f.Class != class || f.Code != code {
		t.Fatalf("error is %v (%T), want a %s fault %q", err, err, class, code)
	}
	if f.Node == "" || fmt.Sprint(f) == "" {
		t.Errorf("fault %v names no node", f)
	}
}

// TestReplayCommitsNothingElseUnderTheOrigin: what the newest commit under the
// origin is tells whether a transaction in doubt was committed, so there is none but
// F's and the one that moves the progress, also after the session has ended.
func TestReplayCommitsNothingElseUnderTheOrigin(t *testing.T) {
	l := newLab(t, []string{`create table t (id int primary key, v int)`})
	for i := range 5 {
		l.exec("n1", fmt.Sprintf(`insert into t values (%d, 0)`, i))
	}
	l.lose()
	before := l.text("n3", `select pg_current_xact_id()::text`)
	_, _, err := l.replay()
	l.must(err)
	l.eventually("the session has ended", func() bool {
		return l.text("n3", `select count(*)::text from pg_locks where locktype = 'advisory'`) == "0"
	})
	got := l.text("n3", `select count(*)::text from (select (pg_xact_commit_timestamp_origin(id::text::xid)).roident as origin
		from generate_series(`+before+`, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1) id) x
		where x.origin = pg_replication_origin_oid('`+l.origin("n3", "n1")+`')`)
	if got != "6" {
		t.Errorf("%s transactions were committed under the origin, want the 5 of n1 and the one that moves the progress", got)
	}
}
