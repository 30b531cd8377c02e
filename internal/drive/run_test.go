package drive_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"healer/internal/localpg"
	"healer/topology"
)

// all is what a node has, each row of the table without a key counted.
const all = `SELECT md5(concat(
	(SELECT string_agg(kv::text, ',' ORDER BY k) FROM kv), (SELECT string_agg(v, ',' ORDER BY v) FROM log)))`

// leftovers are what a recovery makes and drops again.
const leftovers = `SELECT concat_ws(' ',
	(SELECT string_agg(roname, ' ') FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%'),
	(SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE slot_name LIKE 'healer%clone%'),
	(SELECT string_agg(objid::text, ' ') FROM pg_locks WHERE locktype = 'advisory'))`

// gap has n1 die with what n2 has of it and n3 lacks: new, changed and deleted rows.
func (l *lab) gap() {
	l.t.Helper()
	ctx := l.t.Context()
	l.try(l.mesh.Exec(ctx, "n1", `INSERT INTO kv SELECT i, 'both' FROM generate_series(1, 50) i; INSERT INTO log VALUES ('both')`))
	l.try(l.mesh.WaitCaughtUp(ctx))
	sub := localpg.SubscriptionName("n3", "n1")
	l.try(l.mesh.Exec(ctx, "n3", "ALTER SUBSCRIPTION "+sub+" DISABLE"))
	for i := range 40 {
		l.try(l.mesh.Exec(ctx, "n1", fmt.Sprintf(`INSERT INTO kv VALUES (%d, 'gap'); INSERT INTO log VALUES ('gap %d')`, 100+i, i)))
	}
	l.try(l.mesh.Exec(ctx, "n1", `UPDATE kv SET v = 'changed' WHERE k <= 10; DELETE FROM kv WHERE k BETWEEN 11 AND 20`))
	l.try(l.mesh.WaitCaughtUp(ctx, "n1", "n2"))
	l.try(l.mesh.Kill(ctx, "n1"))
	l.try(l.mesh.Exec(ctx, "n3", "ALTER SUBSCRIPTION "+sub+" ENABLE")) // it finds nobody there any more
}

// equal wants the survivors to have the same, and nothing left of a recovery.
func (l *lab) equal() {
	l.t.Helper()
	if l.value("n2", all) != l.value("n3", all) {
		l.t.Error("the survivors differ")
	}
	for _, n := range []string{"n2", "n3"} {
		if left := l.value(n, leftovers); left != "" {
			l.t.Errorf("left on %s: %s", n, left)
		}
	}
	if got := l.value("n3", `SELECT count(*)::text FROM log WHERE v LIKE 'gap%'`); got != "40" {
		l.t.Errorf("n3 has %s rows of the gap, want 40, each once", got)
	}
}

// A gap is carried by hand, without an agent: only when it is told to, from whom it
// is told to, and not while another is at it.
func TestRunByHand(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx := t.Context()
	l.healer(1, "recovery run --failed n1 --yes", "node_alive: n1 is not judged lost")
	l.gap()

	const fences = `SELECT count(*)::text FROM pg_replication_origin WHERE roname LIKE 'healer:fence:%'`
	l.healer(0, "recovery run --failed n1 --dry-run", "source: n2", "subscribe n2 -> n3")
	l.healer(1, "recovery run --failed n1 --source n3 --yes", "source_behind", "hint: name one that holds all of it as the source: n2")
	l.healer(1, "recovery run --failed n1", "stay fenced off from n1", `"no" is not the name n1: nothing was done`)
	if got := l.value("n2", fences); got != "0" {
		t.Fatalf("%s fences, although nothing was to be done", got)
	}

	// Another is at it, as far as anybody can tell: it holds the lock.
	rival, err := l.mesh.Node("n3").Connect(ctx)
	l.try(err)
	_, err = rival.Exec(ctx, "SELECT pg_advisory_lock($1)", topology.RecoveryLock("n1"))
	l.try(err)
	l.healer(1, "recovery run --failed n1 --yes", "recovery_running")
	l.try(rival.Close(context.WithoutCancel(ctx)))

	if code, said := l.run("n1\n", "recovery run --failed n1 --source n2 --target n3"); code != 0 || !strings.Contains(said, ": verified after") {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	l.equal()
	l.healer(0, "recovery run --failed n1 --yes", "nothing to do")
	l.healer(0, "recovery run --failed n1 --yes -o json", `"dry_run": false`)
}

// Two who do it at once do it once: what is found in the other's hands is waited for.
func TestRunTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.gap()
	var g sync.WaitGroup
	for range 2 {
		g.Go(func() { l.healer(0, "recovery run --failed n1 --yes --wait") })
	}
	g.Wait()
	l.equal()
}
