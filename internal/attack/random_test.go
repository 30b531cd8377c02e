package attack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/rescue"
	"healer/topology"
)

// keys is how many rows the large gaps and the writers share.
const keys = 400

// large is the schema of large gaps. Everybody writes t; log has one row of each
// transaction of the lost node, and nobody else writes it.
const large = `create table t (id int primary key, v text, pad text);
	create table log (no int primary key, what text)`

// transaction throws the dice for one transaction of a large gap.
func throw(dice *rand.Rand, no int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "begin; insert into log values (%d, 'one'); ", no)
	row := func() {
		id := 1 + dice.IntN(keys)
		switch dice.IntN(4) {
		case 0:
			fmt.Fprintf(&b, "insert into t values (%d, 'n1 %d', '') on conflict (id) do update set v = excluded.v; ", id, no)
		case 1:
			fmt.Fprintf(&b, "delete from t where id = %d; ", id)
		default:
			fmt.Fprintf(&b, "update t set v = 'n1 %d' where id = %d; ", no, id)
		}
	}
	for i := range 1 + dice.IntN(4) {
		switch dice.IntN(5) {
		case 0: // rolled back
			fmt.Fprintf(&b, "savepoint s%d; ", i)
			row()
			fmt.Fprintf(&b, "rollback to s%d; ", i)
		case 1: // released, with another one in it
			fmt.Fprintf(&b, "savepoint s%d; ", i)
			row()
			fmt.Fprintf(&b, "savepoint r%d; ", i)
			row()
			fmt.Fprintf(&b, "release s%d; ", i)
		default:
			row()
		}
	}
	switch dice.IntN(60) {
	case 0: // large enough to be streamed to the subscribers before its commit
		fmt.Fprintf(&b, "insert into t select %d + i, 'n1 %d', repeat('x', 200) from generate_series(1, 800) i; ", 1000*(no+1), no)
	case 1: // the same, and a part of it taken back
		fmt.Fprintf(&b, "savepoint big; insert into t select %d + i, 'n1 %d', repeat('x', 200) from generate_series(1, 800) i; rollback to big; ", 1000*(no+1), no)
	}
	return b.String() + "commit"
}

// writer is an application beside a survivor. It changes rows of the gaps, its own
// class of them: what two nodes write at the same time PostgreSQL makes equal by
// itself no more than Healer may.
func (l *lab) writer(ctx context.Context, node string, class int, dice *rand.Rand) error {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}()
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = l.m.Node(node).Connect(context.WithoutCancel(ctx)); err != nil {
				continue // it was killed and will be back
			}
		}
		id := 1 + class + 2*dice.IntN(keys/2)
		sql := fmt.Sprintf(`update t set v = '%s %d' where id = %d`, node, n, id)
		if dice.IntN(8) == 0 {
			sql = fmt.Sprintf(`delete from t where id = %d`, id)
		}
		_, err := conn.Exec(context.WithoutCancel(ctx), sql)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Severity == "ERROR" {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
}

// TestLargeGaps strikes at random moments of large gaps, while applications write
// the very rows on both survivors, and verifies as a recovery does. Each gap has a
// mesh of its own: the applications make the lost node, which lives on, differ.
func TestLargeGaps(t *testing.T) {
	dice := random(t)
	for round := range rounds(t, 2) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			l := newLab(t, localpg.Options{Schema: []string{large}, Conf: map[string]string{
				// All but the smallest transactions are streamed before their end.
				"logical_decoding_work_mem": "64kB",
			}}, fmt.Sprintf(`insert into t select i, 'seed', '' from generate_series(1, %d) i`, keys))
			for _, n := range l.m.Names() {
				for _, p := range l.m.Names() {
					if p != n {
						l.exec(n, `alter subscription `+localpg.SubscriptionName(n, p)+` set (streaming = parallel)`)
					}
				}
			}
			script := make([]string, 300)
			for i := range script {
				script[i] = throw(dice, i+1)
			}
			// One at least of each kind that is streamed, with keys that no dice throw.
			script[100] = "begin; insert into log values (101, 'big'); insert into t select 1001000 + i, 'n1', repeat('x', 200) from generate_series(1, 800) i; commit"
			script[200] = "begin; insert into log values (201, 'big'); savepoint a; insert into t select 1002000 + i, 'n1', repeat('x', 200) from generate_series(1, 800) i; rollback to a; commit"
			l.largeGap(dice, script)
			if l.text(lost, `select sum(stream_txns)::text from pg_stat_replication_slots`) == "0" {
				t.Error("no transaction was streamed before its end")
			}
		})
	}
}

// largeGap makes one gap, which begins inside a switch of the WAL segment, and
// recovers from it.
func (l *lab) largeGap(dice *rand.Rand, script []string) {
	l.exec(source, `select pg_switch_wal()`)
	l.exec(lost, `select pg_switch_wal()`)
	script[len(script)/2] += "; select pg_switch_wal()"
	g := l.open(script...)
	g.Settle = func(ctx context.Context) (topology.LSN, error) {
		if err := l.m.WaitCaughtUp(ctx, source, laggard); err != nil {
			return 0, err
		}
		if _, err := l.m.Node(source).Exec(ctx, `set synchronous_commit = on; select pg_logical_emit_message(true, 'attack', 'settle')`); err != nil {
			return 0, err
		}
		s, err := localpg.Value[string](ctx, l.m.Node(source), `select pg_current_wal_flush_lsn()::text`)
		if err != nil {
			return 0, err
		}
		return topology.ParseLSN(s)
	}
	ctx, stop := context.WithCancel(l.Context())
	errs := make(chan error, 2)
	var wg sync.WaitGroup
	for class, node := range []string{source, laggard} {
		own := rand.New(rand.NewPCG(dice.Uint64(), 0)) //nolint:gosec // dice
		wg.Go(func() { errs <- l.writer(ctx, node, class, own) })
	}
	end := sync.OnceFunc(func() { stop(); wg.Wait() })
	defer end()

	struck := 0
	for range 12 {
		if l.randomStrike(dice, g) {
			struck++
		}
	}
	touched := l.resume(g)
	l.Logf("struck %d times; progress %s -> %s", struck, g.Floor, g.Watermark)
	// The writers stop in the middle of the verification.
	timer := time.AfterFunc(200*time.Millisecond, stop)
	defer timer.Stop()
	l.eventually("a verification settles", func() error {
		_, err := l.verify(touched)
		l.retryable(err)
		return err
	})
	end()
	for range 2 {
		l.must(<-errs)
	}
	l.caughtUp(source, laggard)
	report, err := l.verify(touched)
	l.must(err)
	if report.Differing != 0 {
		l.Errorf("a verification left %d rows to the next one", report.Differing)
	}
	l.drop(g.Clone)
	l.afterLarge(g)
}

// randomStrike makes one attempt at the gap that ends somehow, and reports whether
// it was struck.
func (l *lab) randomStrike(dice *rand.Rand, g gap) bool {
	l.Helper()
	strikes := []Strike{Hangup, Hangup, l.terminate(laggard), l.crash(laggard), l.crashSaved, l.crash(source)}
	session := Plan{Side: Side(dice.IntN(int(sides))), At: 1 + dice.IntN(3000), Strike: strikes[dice.IntN(len(strikes))]}
	stream := Plan{}
	switch dice.IntN(6) {
	case 0:
		streams := []Strike{Hangup, l.terminate(source), l.crash(source), l.crash(laggard)}
		session, stream = Plan{}, Plan{Side: Received, At: 1 + dice.IntN(2000), Strike: streams[dice.IntN(len(streams))]}
	case 1:
		killed := l.process(order{Gap: g, On: "session", Side: Sent, At: session.At})
		return killed
	}
	w := l.strike(g, session, stream)
	for _, n := range []string{source, laggard} {
		if !l.m.Node(n).Running() {
			l.must(l.m.Node(n).Start(l.Context()))
		}
	}
	return w.session.Struck() || w.stream.Struck()
}

// verify compares and repairs the survivors.
func (l *lab) verify(touched *rescue.Touched) (rescue.VerifyReport, error) {
	l.Helper()
	ctx, cancel := l.bounded()
	defer cancel()
	var peers []rescue.Peer
	for _, n := range []string{source, laggard} {
		conn, err := pgconn.Connect(ctx, l.m.Node(n).DSN())
		l.must(err)
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		peers = append(peers, rescue.Peer{Node: n, Conn: conn, Authors: l.authors(n)})
	}
	return rescue.Verify(ctx, peers, []*rescue.Touched{touched}, func(ctx context.Context) error {
		return l.m.WaitCaughtUp(ctx, source, laggard)
	}, rescue.Policy{})
}

// afterLarge checks what holds although others wrote at the same time: the same
// transactions at the same times, none twice, equal rows, and nothing of the lost
// node's that the laggard would forward.
func (l *lab) afterLarge(g gap) {
	l.Helper()
	identity := func(all []transaction) []transaction {
		for i := range all {
			all[i].Changes = 0 // what yields to a newer row is no change
		}
		return all
	}
	if diff := cmp.Diff(identity(l.committed(source, g)), identity(l.committed(laggard, g))); diff != "" {
		l.Errorf("transactions on the source (-) and on the laggard (+):\n%s", diff)
	}
	for _, t := range g.Tables {
		stamped := t.Name == "log"
		if diff := cmp.Diff(l.rows(source, t.Name, stamped), l.rows(laggard, t.Name, stamped)); diff != "" {
			l.Errorf("table %s on the source (-) and on the laggard (+):\n%s", t, diff)
		}
	}
	forwarded := map[uint32]int{}
	logID := uint32(0)
	for _, m := range l.messages(laggard, ownSlot, "none") {
		switch m := m.(type) {
		case *pglogrepl.RelationMessage:
			if m.RelationName == "log" {
				logID = m.RelationID
			}
		case *pglogrepl.InsertMessage:
			forwarded[m.RelationID]++ // the writers insert nothing
		}
	}
	if logID != 0 || len(forwarded) != 0 {
		l.Errorf("the mesh would forward what the laggard was given: %v, log %d", forwarded, logID)
	}
	for _, flushed := range []bool{false, true} {
		if got := l.progress(laggard, flushed); got != g.Watermark {
			l.Errorf("progress (flushed %t) is %s, want %s", flushed, got, g.Watermark)
		}
	}
	l.clean("a large gap")
	if l.Failed() {
		l.FailNow()
	}
}
