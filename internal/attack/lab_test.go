package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/rescue"
	"healer/topology"
)

// patience bounds every wait. It ends a test that hangs and decides nothing.
const patience = time.Minute

// The roles of the lab's nodes, and the slots on them.
const (
	lost, source, laggard = "n1", "n2", "n3"

	recoverySlot = "spock_app_recovery_n2_n3"
	// allSlot shows all that the node commits, ownSlot what the mesh forwards.
	allSlot, ownSlot = "attack_all", "attack_own"
)

// lab is a mesh in which n3 is fenced off from n1 and falls behind gap after gap,
// so that hundreds of gaps can be carried over without a server being made.
type lab struct {
	*testing.T
	m     *localpg.Mesh
	conns map[string]*pgx.Conn
	gaps  *int
}

// newLab starts the mesh and runs seed on n1 before the laggard is fenced off.
func newLab(t *testing.T, opts localpg.Options, seed ...string) *lab {
	t.Helper()
	l := bareLab(t, opts)
	for _, sql := range seed {
		l.exec(lost, sql)
	}
	l.caughtUp()
	l.exec(source, `select pg_create_logical_replication_slot('`+recoverySlot+`', 'pgoutput')`)
	for _, n := range []string{source, laggard} {
		l.exec(n, `select pg_create_logical_replication_slot('`+allSlot+`', 'pgoutput')`)
	}
	l.exec(laggard, `select pg_create_logical_replication_slot('`+ownSlot+`', 'pgoutput')`)
	l.exec(laggard, `alter subscription `+localpg.SubscriptionName(laggard, lost)+` disable`)
	l.eventually("the laggard is fenced off", func() error {
		return l.zero(laggard, `select count(*) from pg_stat_subscription where pid is not null and subname = '`+
			localpg.SubscriptionName(laggard, lost)+`'`)
	})
	return l
}

// bareLab starts the mesh alone.
func bareLab(t *testing.T, opts localpg.Options) *lab {
	t.Helper()
	l := &lab{T: t, m: pgtest.Mesh(t, opts), conns: map[string]*pgx.Conn{}, gaps: new(int)}
	t.Cleanup(func() {
		for _, c := range l.conns {
			_ = c.Close(context.Background())
		}
	})
	return l
}

// sub runs a part of the test.
func (l *lab) sub(name string, part func(l *lab)) {
	l.Run(name, func(t *testing.T) { part(&lab{T: t, m: l.m, conns: l.conns, gaps: l.gaps}) })
}

// next makes the next gap.
func (l *lab) next(transactions func(n int) []string) gap {
	l.Helper()
	return l.open(transactions(*l.gaps + 1)...)
}

// conn is a session on a node; a new one after the server's end.
func (l *lab) conn(node string) *pgx.Conn {
	l.Helper()
	if c := l.conns[node]; c != nil && c.Ping(l.Context()) == nil {
		return c
	}
	c, err := l.m.Node(node).Connect(l.Context())
	l.must(err)
	l.conns[node] = c
	return c
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// exec runs statements as one transaction.
func (l *lab) exec(node, sql string) {
	l.Helper()
	if err := l.conn(node).PgConn().Exec(l.Context(), sql).Close(); err != nil {
		l.Fatalf("%s: %s: %v", node, sql, err)
	}
}

func (l *lab) text(node, sql string) string {
	l.Helper()
	var v string
	if err := l.conn(node).QueryRow(l.Context(), sql).Scan(&v); err != nil {
		l.Fatalf("%s: %s: %v", node, sql, err)
	}
	return v
}

func (l *lab) lsn(node, sql string) topology.LSN {
	l.Helper()
	v, err := topology.ParseLSN(l.text(node, sql))
	l.must(err)
	return v
}

// zero is an error unless the query's count is 0.
func (l *lab) zero(node, sql string) error {
	l.Helper()
	if n := l.text(node, `select (`+sql+`)::text`); n != "0" {
		return fmt.Errorf("%s on %s: %s", n, node, sql)
	}
	return nil
}

func (l *lab) eventually(what string, check func() error) {
	l.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for err := check(); err != nil; err = check() {
		select {
		case <-tick.C:
		case <-limit:
			l.Fatalf("it did not come to pass that %s: %v", what, err)
		}
	}
}

func (l *lab) caughtUp(nodes ...string) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), patience)
	defer cancel()
	l.must(l.m.WaitCaughtUp(ctx, nodes...))
}

// origin names a node's replication origin for a provider.
func (l *lab) origin(node, provider string) string {
	l.Helper()
	return l.text(node, `select 'pg_' || oid from pg_subscription where subname = '`+localpg.SubscriptionName(node, provider)+`'`)
}

func (l *lab) authors(node string) map[string]string {
	l.Helper()
	out := map[string]string{}
	for _, p := range l.m.Names() {
		if p != node {
			out[l.origin(node, p)] = p
		}
	}
	return out
}

// progress is what the node has applied of the lost one; on disk or in memory.
func (l *lab) progress(node string, flushed bool) topology.LSN {
	l.Helper()
	return l.lsn(node, fmt.Sprintf(`select coalesce(pg_replication_origin_progress('%s', %t), '0/0')::text`, l.origin(node, lost), flushed))
}

func (l *lab) flushed(node string) topology.LSN {
	l.Helper()
	l.exec(node, `set synchronous_commit = on; select pg_logical_emit_message(true, 'attack', 'flush')`)
	return l.lsn(node, `select pg_current_wal_flush_lsn()::text`)
}

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

// transaction is one of the lost node, as a node has committed it.
type transaction struct {
	LSN     string
	Time    time.Time
	Changes int
}

// committed lists what the node's log has of the gap, in the order of the log.
func (l *lab) committed(node string, g gap) []transaction {
	l.Helper()
	origin := l.origin(node, lost)
	var out []transaction
	var at time.Time
	mine := false
	for _, m := range l.messages(node, allSlot, "any") {
		switch m := m.(type) {
		case *pglogrepl.BeginMessage:
			at, mine = m.CommitTime, false
		case *pglogrepl.OriginMessage:
			lsn := topology.LSN(m.CommitLSN)
			if mine = m.Name == origin && lsn > g.Floor; mine {
				out = append(out, transaction{LSN: lsn.String(), Time: at})
			}
		case *pglogrepl.InsertMessage, *pglogrepl.UpdateMessage, *pglogrepl.DeleteMessage:
			if mine {
				out[len(out)-1].Changes++
			}
		}
	}
	return out
}

// messages takes from a slot what was committed since the last time.
func (l *lab) messages(node, slot, origin string) []pglogrepl.Message {
	l.Helper()
	l.flushed(node)
	rows, err := l.conn(node).Query(l.Context(), `select data from pg_logical_slot_get_binary_changes('`+slot+`', null, null,
		'proto_version', '1', 'publication_names', '`+localpg.Publication+`', 'origin', '`+origin+`')`)
	l.must(err)
	raw, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	l.must(err)
	out := make([]pglogrepl.Message, len(raw))
	for i, b := range raw {
		out[i], err = pglogrepl.Parse(b)
		l.must(err)
	}
	return out
}

// same compares each row with its commit timestamp and its author.
func (l *lab) same(g gap, what string) {
	l.Helper()
	for _, t := range g.Tables {
		if diff := cmp.Diff(l.rows(source, t.Name, true), l.rows(laggard, t.Name, true)); diff != "" {
			l.Errorf("%s: table %s on the source (-) and on the laggard (+):\n%s", what, t, diff)
		}
	}
}

// rows are a table's rows, with what PostgreSQL knows of who wrote them when.
func (l *lab) rows(node, table string, stamped bool) []string {
	l.Helper()
	stamp := ""
	if stamped {
		stamp = ` || ' ' || pg_xact_commit_timestamp(t.xmin)::text`
	}
	return strings.Split(l.text(node, `select coalesce(string_agg(md5(t::text) || ' ' || left(t::text, 60)`+stamp+`, e'\n' order by t::text), '') from `+table+` t`), "\n")
}

// clean fails the test when anything of a recovery is left.
func (l *lab) clean(what string) {
	l.Helper()
	for _, n := range []string{source, laggard} {
		for _, sql := range []string{
			`select count(*) from pg_locks where locktype = 'advisory'`,
			`select count(*) from pg_replication_origin where roname like 'healer:gap:%' or roname like 'healer:fence:%'`,
			`select count(*) from pg_replication_slots where slot_name like 'attack_%_c'`,
			`select count(*) from pg_prepared_xacts`,
		} {
			l.eventually(what+": nothing is left", func() error { return l.zero(n, sql) })
		}
	}
	disabled := l.text(laggard, `select coalesce(string_agg(subname, ','), '') from pg_subscription where not subenabled`)
	if want := localpg.SubscriptionName(laggard, lost); disabled != want {
		l.Errorf("%s: disabled subscriptions: %s, want %s alone", what, disabled, want)
	}
}

// Terminate ends the connection's backend, once it has worked through all that it
// got, with pg_terminate_backend.
func (l *lab) terminate(node string) Strike {
	return func(w *Wire) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := l.m.Node(node).Connect(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		// Our end of the connection tells the backend from all others.
		pid, err := backendOf(ctx, conn, w)
		for gone := false; err == nil && !gone; {
			err = conn.QueryRow(ctx, `select coalesce(bool_and(case when wait_event in ('ClientRead', 'WalSenderMain', 'WalSenderWaitForWAL')
				then not pg_terminate_backend(pid) end), true) from pg_stat_activity where pid = $1`, pid).Scan(&gone)
			var null pgx.ScanArgError
			if errors.As(err, &null) {
				err = nil
			}
		}
		return err
	}
}

func backendOf(ctx context.Context, conn *pgx.Conn, w *Wire) (pid int32, err error) {
	addr := w.LocalAddr().String()
	err = conn.QueryRow(ctx, `select pid from pg_stat_activity where client_port = $1`, addr[strings.LastIndex(addr, ":")+1:]).Scan(&pid)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return pid, err
}

// crash kills a server; resume starts it again.
func (l *lab) crash(node string) Strike {
	return func(*Wire) error { return l.m.Kill(context.Background(), node) }
}

// crashSaved hangs up, lets the laggard write to disk what it then believes, and
// kills it.
func (l *lab) crashSaved(w *Wire) error {
	if err := Hangup(w); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := l.m.Node(laggard).Exec(ctx, `checkpoint`); err != nil {
		return err
	}
	return l.m.Kill(ctx, laggard)
}
