package rescue

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// programGap is a gap for programs: short transactions and long ones, of many
// shapes, with what makes a program give up among them once it is planted on the
// laggard (see plantObstacles).
func programGap() []string {
	return []string{
		`do $$ begin for i in 1..400 loop
	insert into t values (1000 + i, i, 'new "' || i || '" \ ,{}');
	if i % 2 = 0 then commit; end if;
	update t set v = -i where id = i;
	if i % 3 = 0 then commit; end if;
	insert into "Ünique x" values (i, 'e' || i, (i % 7)::numeric / 10, null);
	delete from t where id = 400 + i;
	if i % 5 = 0 then
		delete from "Ünique x" where "K" = i - 1;
		insert into "Ünique x" values (10000 + i, 'e' || (i - 1), 'NaN', array['a,b', null, '"']);
	end if;
	commit; end loop; end $$`,
		`insert into t select 5000 + i, i, 'long ' || i from generate_series(1, 3000) i`,
		`begin; update t set note = 'touched' where id between 5001 and 6000; delete from t where id between 6001 and 6500;
	insert into t select 9000 + i, i, null from generate_series(1, 500) i; commit`,
		// Rows that come by COPY.
		`insert into "Ünique x" select 20000 + i, E'\t\n\r\\N ' || i, i, array[E'\\.\n"', null, ''] from generate_series(1, 450) i`,
	}
}

func programSchema() []string {
	return []string{
		`create table t (id int primary key, v int, note text)`,
		`create domain title as text not null`,
		`create table "Ünique x" ("K" bigint primary key, e title unique, n numeric, a text[])`,
	}
}

const programSeed = `insert into t select i, i, 'seed' from generate_series(1, 800) i`

// committedUnder returns the commits under the laggard's origin for n1, from a
// transaction id on.
func (l *lab) committedUnder(from string) int {
	l.Helper()
	n, err := strconv.Atoi(l.text("n3", `select count(*)::text from (
		select (pg_xact_commit_timestamp_origin(id::text::xid)).roident as origin
		from generate_series(`+from+`, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1) id) x
		where x.origin = pg_replication_origin_oid('`+l.origin("n3", "n1")+`')`))
	l.must(err)
	return n
}

// plantObstacles makes rows on the laggard, as the source's, which are in a
// program's way: at the beginning of the gap, in its middle, and in its last
// transaction.
func (l *lab) plantObstacles() {
	l.plant("n3", "n2", time.Now().Add(time.Hour), `update t set v = 0 where id in (1, 100, 101);
		delete from t where id in (500, 799); insert into t values (1200, 0, 'mine'), (9100, 0, 'mine'), (5500, 0, 'mine')`)
}

// TestProgramsLeaveToRowsWhatTheyCannotDo replays a gap whose programs fail again
// and again: every transaction is committed once, in its order and with its time,
// and what is in the way is told as a conflict.
func TestProgramsLeaveToRowsWhatTheyCannotDo(t *testing.T) {
	for _, obstacles := range []bool{false, true} {
		t.Run(fmt.Sprintf("obstacles=%v", obstacles), func(t *testing.T) {
			l := newLab(t, programSchema(), programSeed)
			for _, sql := range programGap() {
				l.exec("n1", sql)
			}
			l.lose()
			if obstacles {
				l.plantObstacles()
			}
			l.watch()
			before := l.text("n3", `select pg_current_xact_id()::text`)
			report, touched, err := l.replay()
			l.must(err)
			if int64(l.committedUnder(before)) != report.Applied+1 {
				t.Errorf("%d commits under the origin of %d transactions and the one that moves the progress",
					l.committedUnder(before), report.Applied)
			}
			if report.Applied != report.Transactions {
				t.Errorf("%d transactions applied of %d", report.Applied, report.Transactions)
			}
			met := map[topology.ConflictKind]int64{}
			for _, c := range report.Conflicts.Counts {
				met[c.Kind] += c.Count
			}
			want := map[topology.ConflictKind]int64{}
			if obstacles {
				want = map[topology.ConflictKind]int64{InsertExists: 3, UpdateNewer: 3, DeleteMissing: 2}
			}
			for _, kind := range []topology.ConflictKind{InsertExists, UpdateNewer, UpdateMissing, DeleteMissing, DeleteNewer} {
				if obstacles && kind == UpdateNewer {
					continue // row 5500 is met once as an INSERT and once as an UPDATE
				}
				if met[kind] != want[kind] {
					t.Errorf("%d conflicts %s, want %d", met[kind], kind, want[kind])
				}
			}
			inLog := report.Transactions
			if obstacles {
				inLog-- // of row 1200 alone: pgoutput shows no transaction that wrote nothing
			}
			l.inOrder(inLog)
			_, err = l.verify(touched)
			l.must(err)
			if !obstacles {
				l.same("t", `"Ünique x"`)
			}
		})
	}
}

// inOrder wants n1's transactions in the laggard's log, each once and in order.
func (l *lab) inOrder(want int64) {
	l.Helper()
	var order []topology.LSN
	for _, m := range l.watched("any") {
		if m.kind == msgOrigin && m.origin == l.origin("n3", "n1") {
			order = append(order, m.lsn)
		}
	}
	if !slices.IsSorted(order) || len(slices.Compact(slices.Clone(order))) != len(order) {
		l.Error("transactions were committed out of order or twice")
	}
	if int64(len(order)) != want {
		l.Errorf("%d transactions were committed, want %d", len(order), want)
	}
}

// TestLongInsertsGoInParts replays a transaction of many rows of two tables, the
// parts of which come by COPY, with a row in the way of one of them and without.
func TestLongInsertsGoInParts(t *testing.T) {
	for _, obstacles := range []int64{0, 1} {
		t.Run(fmt.Sprintf("obstacles=%d", obstacles), func(t *testing.T) {
			l := newLab(t, programSchema())
			l.exec("n1", `begin; insert into t select i, null, repeat('long ', 100) || i from generate_series(1, 8000) i;
				insert into "Ünique x" select i, 'e' || i, null, null from generate_series(1, 100) i; commit`)
			l.lose()
			if obstacles > 0 {
				l.plant("n3", "n2", time.Now().Add(time.Hour), `insert into t values (4000, 0, 'mine')`)
			}
			l.watch()
			report, touched, err := l.replay()
			l.must(err)
			if report.Applied != 1 || report.Rows != 8100 || report.Conflicts.Total() != obstacles {
				t.Errorf("%d transactions, %d rows, %d conflicts", report.Applied, report.Rows, report.Conflicts.Total())
			}
			l.inOrder(1)
			_, err = l.verify(touched)
			l.must(err)
			l.sameContent("t")
			l.sameContent(`"Ünique x"`)
		})
	}
}

// TestProgramsKilledAtEveryMessage ends the apply session at each read and write,
// on a gap that programs apply, and lets the next attempt carry on.
func TestProgramsKilledAtEveryMessage(t *testing.T) {
	l := newLab(t, programSchema(), programSeed)
	for _, sql := range programGap() {
		l.exec("n1", sql)
	}
	l.lose()
	l.watch()
	before := l.text("n3", `select pg_current_xact_id()::text`)
	slot := l.clone()
	applied, done := int64(0), false
	for life := int64(1); !done; {
		report, err := l.attempt(slot, life, 0)
		applied += report.Applied
		var f *topology.Fault
		var pg *pgconn.PgError
		switch {
		case err == nil:
			done = true
		case errors.As(err, &f) && f.Class == topology.Conflict, errors.As(err, &pg) && strings.HasPrefix(pg.Code, "55"):
			continue // a server has not noticed the last death yet
		case errors.As(err, &f) && f.Class == topology.Permanent:
			t.Fatalf("a killed connection gave a permanent fault: %v", err)
		default:
			life++
		}
	}
	l.drop(slot)
	l.same("t", `"Ünique x"`)
	if got := l.progress("n3"); got != l.gap().Watermark {
		t.Errorf("progress is %s, want %s", got, l.gap().Watermark)
	}
	commits := l.committedUnder(before)
	t.Logf("%d commits under the origin, %d transactions answered for", commits, applied)
	l.inOrder(int64(len(l.transactions())))
}

// transactions are the commit LSNs of n1's transactions that the source has.
func (l *lab) transactions() []topology.LSN {
	var all []topology.LSN
	stream := l.stream(l.clone())
	defer func() { _ = stream.Close(l.Context()) }()
	for {
		m, err := stream.next(l.Context())
		if err != nil {
			break
		}
		if m.kind == msgOrigin && m.lsn > l.floor {
			all = append(all, m.lsn)
		}
	}
	return all
}
