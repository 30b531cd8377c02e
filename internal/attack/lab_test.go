package attack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
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
