package drive_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"healer/internal/localpg"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/postgres/native"
	"healer/topology"
)

// engine is another one over the lab's servers, for what no command does.
func (l *lab) engine() *engine.Engine {
	l.t.Helper()
	servers := map[string]*postgres.Server{}
	for _, s := range l.mesh.Nodes() {
		server, err := postgres.Open(s.Name(), s.DSN())
		l.try(err)
		l.t.Cleanup(server.Close)
		servers[s.Name()] = server
	}
	e := native.New(engine.Options{Cluster: "app", Servers: servers, Log: slog.New(slog.DiscardHandler)})
	l.t.Cleanup(e.Close)
	return e
}

// progress is what a node counts as applied of n1.
func (l *lab) progress(node string) string {
	l.t.Helper()
	return l.value(node, `SELECT remote_lsn::text FROM pg_replication_origin_status s JOIN pg_subscription u ON s.external_id = 'pg_' || u.oid
		WHERE u.subname = '`+localpg.SubscriptionName(node, "n1")+`'`)
}

// A gap that no slot has any more is carried as rows, deletions among them, when the
// operator says so. Nothing counts as carried before all rows are equal; and then n1
// comes back to what it left, and nothing of it arrives twice.
func TestRunRows(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx := t.Context()
	e := l.engine()
	e.ObserveAll(ctx)
	l.gap()
	// Later than the gap, of a row that n1 has deleted: it stays.
	l.try(l.mesh.Exec(ctx, "n3", `UPDATE kv SET v = 'n3' WHERE k = 15`))
	slot := topology.RecoverySlotName("app", "n2", "n3")
	l.healer(0, "slots drop --node n2 --slot "+slot+" --yes "+slot, "dropped")
	old := l.progress("n3")

	const command = "recovery run --failed n1 --yes"
	l.healer(1, command, "slot_missing", "healer recovery run --failed n1 --rows")
	l.healer(0, command+" --rows --dry-run", "ROWS, NOT TRANSACTIONS", "rows n2 -> n3")
	if l.value("n2", all) == l.value("n3", all) || l.progress("n3") != old {
		t.Fatal("what is only shown, or refused, was done")
	}

	// A table without a key is compared, and not repaired: nothing counts as carried.
	l.healer(1, command+" --rows", "could not all be made equal", "public.log: 40 differ", "healer verify --repair --dry-run --origin n1")
	if got := l.progress("n3"); got != old {
		t.Errorf("n3 counts as having n1 up to %s, although it has not", got)
	}
	if got := l.value("n3", `SELECT count(*)::text FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%'`); got != "1" {
		t.Errorf("%s gap marks on n3, want one until it is healed", got)
	}
	// The operator adds the rows, under an origin, which the mesh does not send on.
	hidden, err := l.mesh.Node("n3").Connect(ctx)
	l.try(err)
	_, err = hidden.Exec(ctx, `SELECT pg_replication_origin_create('by hand'); SELECT pg_replication_origin_session_setup('by hand')`)
	l.try(err)
	_, err = hidden.Exec(ctx, `INSERT INTO log SELECT 'gap ' || i FROM generate_series(0, 39) i`)
	l.try(err)
	l.try(hidden.Close(ctx))

	l.healer(0, command+" --rows", ": verified after", "ROWS, NOT TRANSACTIONS, from n2 to n3", "rows  ")
	l.equal()
	if a, b := l.progress("n2"), l.progress("n3"); a != b {
		t.Errorf("n2 counts as having n1 up to %s, n3 up to %s", a, b)
	}
	if got := l.value("n3", `SELECT string_agg(k::text, ',' ORDER BY k) FROM kv WHERE k BETWEEN 11 AND 20`); got != "15" {
		t.Errorf("of the deleted rows n3 has %q: want 15, which it wrote later", got)
	}
	l.healer(0, command+" --rows", "nothing to do")

	l.try(l.mesh.Node("n1").Start(ctx))
	for _, n := range []string{"n2", "n3"} {
		for _, f := range e.Observe(ctx, n).Fences {
			l.try(e.Unfence(ctx, n, f))
		}
	}
	l.try(l.mesh.Exec(ctx, "n1", `INSERT INTO kv VALUES (1000, 'back'); INSERT INTO log VALUES ('back')`))
	l.try(l.mesh.WaitCaughtUp(ctx))
	l.equal()
	if a, b := l.value("n1", `SELECT count(*)::text FROM log`), l.value("n3", `SELECT count(*)::text FROM log`); a != b || a != "42" {
		t.Errorf("n1 has %s rows without a key, n3 %s: want 42", a, b)
	}
}

// Killed after the progress was moved and before the mark went, the rows are compared
// once more, and the mark goes. The progress that was moved is one that stands.
func TestRowsResumed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx := t.Context()
	e := l.engine()
	e.ObserveAll(ctx)
	for _, n := range l.mesh.Names() {
		l.try(l.mesh.Exec(ctx, n, `ALTER TABLE log ADD PRIMARY KEY (v)`))
	}
	l.gap()
	slot := topology.RecoverySlotName("app", "n2", "n3")
	l.healer(0, "slots drop --node n2 --slot "+slot+" --yes "+slot, "dropped")
	var from topology.LSN
	for _, s := range e.Observe(ctx, "n3").Subscriptions {
		if s.Name == localpg.SubscriptionName("n3", "n1") {
			from = s.Progress
		}
	}
	l.healer(0, "recovery run --failed n1 --yes --rows", ": verified after")
	to, err := topology.ParseLSN(l.progress("n3"))
	l.try(err)
	if from == 0 || to <= from {
		t.Fatalf("progress from %s to %s", from, to)
	}
	_, err = e.MarkGap(ctx, "n3", "n1", from, to)
	l.try(err)
	began := time.Now()
	l.healer(0, "recovery run --failed n1 --yes --rows", ": verified after", fmt.Sprintf("progress %s -> %s", to, to), " 0 differed")
	t.Logf("the second comparison took %s", time.Since(began))
	if l.value("n2", all) != l.value("n3", all) || l.value("n3", leftovers) != "" {
		t.Error("the survivors differ, or something is left")
	}
}
