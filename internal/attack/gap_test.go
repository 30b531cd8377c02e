package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/rescue"
	"healer/topology"
)

// gap is one that the source has and the laggard lacks. It is a plain value, so
// that another process can carry it over.
type gap struct {
	Floor, Watermark topology.LSN
	Tables           []topology.TableName
	SourceOrigin     string
	SourceAuthors    map[string]string
	Target           rescue.Target
	// Settle is rescue.Gap's.
	Settle func(context.Context) (topology.LSN, error) `json:"-"`

	Clone string
	Until topology.LSN
	// The servers' addresses.
	TargetDSN, SourceDSN string
}

// open makes a gap of transactions, each a run of statements.
func (l *lab) open(transactions ...string) gap {
	l.Helper()
	*l.gaps++
	l.exec(source, `select pg_replication_slot_advance('`+recoverySlot+`', pg_current_wal_flush_lsn())`)
	floor := l.progress(laggard, false)
	for _, tx := range transactions {
		l.exec(lost, tx)
	}
	l.caughtUp(lost, source)
	return l.lack(floor)
}

// lack is the gap that begins behind floor.
func (l *lab) lack(floor topology.LSN) gap {
	l.Helper()
	tables, err := localpg.Rows(l.Context(), l.m.Node(laggard), pgx.RowToStructByPos[topology.TableName],
		`select schemaname::text, tablename::text from pg_publication_tables where pubname = $1`, localpg.Publication)
	l.must(err)
	g := gap{
		Floor: floor, Watermark: l.progress(source, false), Tables: tables,
		SourceOrigin: l.origin(source, lost), SourceAuthors: l.authors(source),
		Target:    rescue.Target{Node: laggard, Origin: lost, OriginName: l.origin(laggard, lost), Authors: l.authors(laggard)},
		Clone:     fmt.Sprintf("attack_%d_c", *l.gaps),
		Until:     l.flushed(source),
		TargetDSN: l.m.Node(laggard).DSN(), SourceDSN: l.m.Node(source).DSN(),
	}
	l.exec(source, `select pg_copy_logical_replication_slot('`+recoverySlot+`', '`+g.Clone+`', false, 'pgoutput')`)
	return g
}

func (g gap) rescue() rescue.Gap {
	return rescue.Gap{
		Origin: lost, Source: source, SourceOrigin: g.SourceOrigin, Floor: g.Floor, Watermark: g.Watermark,
		Tables: g.Tables, Authors: g.SourceAuthors, Settle: g.Settle,
	}
}

// wires are the connections of one attempt.
type wires struct{ session, stream *Wire }

// dial connects over a Wire.
func dial(ctx context.Context, dsn string, plan Plan) (conn *pgconn.PgConn, w *Wire, err error) {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, nil, err
	}
	plain := cfg.DialFunc
	var dialled atomic.Bool
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := plain(ctx, network, addr)
		if err != nil || dialled.Swap(true) {
			return c, err // a second connection asks to cancel what the first one does
		}
		w, err = NewWire(c, plan)
		return w, err
	}
	conn, err = pgconn.ConnectConfig(ctx, cfg)
	return conn, w, err
}

// carry is one attempt at the gap.
func carry(ctx context.Context, g gap, session, stream Plan) (wires, *rescue.Touched, error) {
	var w wires
	conn, sw, err := dial(ctx, g.TargetDSN, session)
	w.session = sw
	if err != nil {
		return w, nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	s, err := rescue.NewSession(ctx, conn, g.Target)
	if err != nil {
		return w, nil, err
	}
	repl, rw, err := dial(ctx, g.SourceDSN+" replication=database", stream)
	w.stream = rw
	if err != nil {
		return w, nil, err
	}
	defer func() { _ = repl.Close(context.WithoutCancel(ctx)) }()
	st, err := rescue.OpenStream(ctx, repl, rescue.StreamOptions{
		Node: source, Slot: g.Clone, Publications: []string{localpg.Publication}, Until: g.Until,
	})
	if err != nil {
		return w, nil, err
	}
	defer func() { _ = st.Close(context.WithoutCancel(ctx)) }()
	_, touched, err := rescue.Replay(ctx, s, st, g.rescue())
	return w, touched, err
}

// bounded is a context for one attempt.
func (l *lab) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(l.Context(), patience)
}

// strike carries the gap over as far as the plans allow, and fails the test when
// what came of it is not what a recovery could try again.
func (l *lab) strike(g gap, session, stream Plan) wires {
	l.Helper()
	ctx, cancel := l.bounded()
	defer cancel()
	w, _, err := carry(ctx, g, session, stream)
	l.retryable(err)
	return w
}

// retryable fails the test on an error after which a recovery would give up.
func (l *lab) retryable(err error) {
	l.Helper()
	var f *topology.Fault
	if errors.As(err, &f) && f.Class == topology.Permanent {
		l.Fatalf("what was cut off gave a permanent fault: %v", err)
	}
	if errors.Is(err, context.DeadlineExceeded) && l.Context().Err() == nil {
		l.Fatalf("what was cut off was not noticed: %v", err)
	}
}

// resume carries the gap over undisturbed.
func (l *lab) resume(g gap) *rescue.Touched {
	l.Helper()
	for _, n := range []string{source, laggard} {
		if !l.m.Node(n).Running() {
			l.must(l.m.Node(n).Start(l.Context()))
		}
	}
	var touched *rescue.Touched
	l.eventually("an undisturbed attempt carries the gap over", func() error {
		ctx, cancel := l.bounded()
		defer cancel()
		var err error
		_, touched, err = carry(ctx, g, Plan{}, Plan{})
		l.retryable(err)
		return err
	})
	return touched
}

// drop drops a clone as soon as its walsender has ended.
func (l *lab) drop(clone string) {
	l.Helper()
	l.eventually("the clone is dropped", func() error {
		_, err := l.conn(source).Exec(l.Context(), `select pg_drop_replication_slot('`+clone+`')`)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "42704" { // undefined_object
			return nil
		}
		return err
	})
}

// done releases what the gap held and checks everything that a recovery promises.
func (l *lab) done(g gap, what string) {
	l.Helper()
	l.drop(g.Clone)
	for _, flushed := range []bool{false, true} {
		if got := l.progress(laggard, flushed); got != g.Watermark {
			l.Errorf("%s: progress (flushed %t) is %s, want %s", what, flushed, got, g.Watermark)
		}
	}
	if diff := cmp.Diff(l.committed(source, g), l.committed(laggard, g)); diff != "" {
		l.Errorf("%s: transactions on the source (-) and on the laggard (+):\n%s", what, diff)
	}
	if got := l.messages(laggard, ownSlot, "none"); len(got) != 0 {
		l.Errorf("%s: the mesh would forward %d messages", what, len(got))
	}
	l.same(g, what)
	l.clean(what)
	if l.Failed() {
		l.FailNow()
	}
}
