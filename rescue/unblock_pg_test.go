package rescue

import (
	"context"
	"strings"
	"testing"
	"time"

	"healer/internal/localpg"
	"healer/topology"
)

// TestRemainsOfAGapThatNobodyKnows: n2 deletes rows of the gap, which n3 skips and is then
// given by the gap; the keys of the gap are lost with the recovery. n2 writes the rows
// anew, and one of them n4 changes at once, which n3 receives before the row: all have the
// same version of it. What n3 has written itself meanwhile, n2 has not had, and stays.
func TestRemainsOfAGapThatNobodyKnows(t *testing.T) {
	t.Parallel()
	l := newLabOf(t, 4, []string{`create table t (id int primary key, v text)`}, `insert into t values (0, 'old')`)
	l.exec("n1", `insert into t values (1, 'n1'), (2, 'n1'), (3, 'n1')`)
	l.lose()
	l.exec("n2", `delete from t where id in (1, 2)`)
	l.caughtUp("n2", "n3", "n4")
	_, _, err := l.replayTo("n3")
	l.must(err)

	l.exec("n3", `alter subscription sub_n3_from_n2 disable`)
	l.exec("n2", `insert into t values (1, 'n2')`)
	l.exec("n2", `insert into t values (2, 'n2'), (4, 'n2')`)
	l.caughtUp("n2", "n4")
	l.exec("n4", `update t set v = 'n4' where id = 2`)
	l.caughtUp("n4", "n2")
	l.caughtUp("n4", "n3")
	if got := l.text("n3", `select v from t where id = 2`); got != "n4" {
		t.Fatalf("n3 has %s, want the UPDATE of n4 on top of the gap's row", got)
	}
	l.exec("n3", `alter subscription sub_n3_from_n2 enable`)

	off := l.caughtUpUnblocking()
	if n := off.Len(); n != 2 {
		t.Errorf("%d rows were taken off, want 1 and 2", n)
	}
	report, err := l.verify(off)
	l.must(err)
	if report.Repaired != 1 {
		t.Errorf("%+v: want that n3 is given n4's version of 2", report)
	}
	const all = `select string_agg(id || v, ' ' order by id) from t`
	for _, n := range []string{"n2", "n3"} {
		if got, want := l.text(n, all), "0old 1n2 2n4 3n1 4n2"; got != want {
			t.Errorf("%s has %s, want %s", n, got, want)
		}
	}
	l.same("t")

	// What comes is applied while it is looked at: it is not in its own way.
	l.exec("n3", `alter subscription sub_n3_from_n2 disable`)
	found, err := l.unblockBehind(t.Context(), func() {
		l.exec("n3", `alter subscription sub_n3_from_n2 enable`)
		l.exec("n2", `insert into t values (8, 'n2')`)
		l.caughtUp("n2", "n3")
	})
	l.must(err)
	if n := found.Len(); n != 0 || l.text("n3", `select v from t where id = 8`) != "n2" {
		t.Errorf("%d rows were taken off, want that what has just been applied stays", n)
	}

	// Two rows that were written side by side are nobody's remains.
	l.exec("n2", `alter subscription sub_n2_from_n3 disable`)
	l.exec("n3", `alter subscription sub_n3_from_n2 disable`)
	l.exec("n3", `insert into t values (9, 'n3')`)
	l.exec("n2", `insert into t values (9, 'n2')`)
	found, err = l.unblock(t.Context())
	l.must(err)
	if n := found.Len(); n != 0 || l.text("n3", `select v from t where id = 9`) != "n3" {
		t.Errorf("%d rows were taken off, want that n3 keeps what nobody has had", n)
	}
}

// TestRemainsThatHoldAUniqueValue: n2 deletes rows of the gap, or moves their unique values
// away, which n3 skips and is then given by the gap; the keys of the gap are lost with the
// recovery. Other rows of n2 get the values, by INSERT and by UPDATE. What n3 has written
// itself meanwhile n2 has not had, and stays; so does what meets in a partial index.
func TestRemainsThatHoldAUniqueValue(t *testing.T) {
	t.Parallel()
	l := newLabOf(t, 4, []string{
		`create table t (id int primary key, u int unique, a int, b text, p int, v text)`,
		`create unique index on t (a, b)`, `create unique index on t (p) where p > 0`,
	}, `insert into t values (0, 0, 0, 'old', 0, 'old')`)
	l.exec("n1", `insert into t select i, i, i, 'x', i, 'n1' from generate_series(1, 7) i`)
	l.lose()
	l.exec("n2", `delete from t where id in (1, 3, 6, 7)`)
	l.exec("n2", `update t set u = -5 where id = 5`)
	l.exec("n2", `update t set u = -2, v = 'moved' where id = 2`)
	l.caughtUp("n2", "n3", "n4")
	_, _, err := l.replayTo("n3")
	l.must(err)

	l.exec("n2", `insert into t values (11, 1, -1, 'x', 0, 'deleted')`)
	l.exec("n2", `update t set u = 2, v = 'moved' where id = 0`)
	l.exec("n2", `begin; update t set a = -4 where id = 4; insert into t values (13, -3, 3, 'x', 0, 'two columns'), (14, null, 4, 'x', 0, 'moved by it'); commit`)
	off := l.caughtUpUnblocking()
	if n := off.Len(); n != 3 {
		t.Errorf("%d rows were taken off, want 1, 2 and 3", n)
	}
	const all = `select string_agg(concat_ws(' ', id, u, v), ', ' order by id) from t`
	want := "0 2 moved, 2 -2 moved, 4 4 n1, 11 1 deleted, 13 -3 two columns, 14 moved by it"
	if got := l.text("n3", all+` where id not in (5, 6, 7)`); got != want {
		t.Errorf("n3 has %s before the comparison, want %s", got, want)
	}
	_, err = l.verify(off)
	l.must(err)
	for _, n := range []string{"n2", "n3"} {
		if got := l.text(n, all+` where id not in (5, 6, 7)`); got != want {
			t.Errorf("%s has %s, want %s", n, got, want)
		}
	}

	l.exec("n2", `alter subscription sub_n2_from_n3 disable`)
	l.exec("n3", `alter subscription sub_n3_from_n2 disable`)
	l.exec("n3", `insert into t values (8, -5, 8, 'y', 0, 'n3'), (9, 9, 9, 'y', 0, 'n3')`)
	l.exec("n2", `insert into t values (15, 5, 15, 'y', 0, 'n2'), (17, 7, 17, 'y', 0, 'n2'), (19, 9, 9, 'y', 6, 'n2')`)
	found, err := l.unblock(t.Context())
	if err == nil || !strings.Contains(err.Error(), `"t_u_key"`) || !strings.Contains(err.Error(), "(id=8)") {
		t.Errorf("%v: want that n2's version of 5 does not fit beside the row 8 of n3", err)
	}
	if n, got := found.Len(), l.text("n3", all+` where id in (5, 6, 7, 8, 9)`); n != 2 || got != "5 5 n1, 6 6 n1, 8 -5 n3, 9 9 n3" {
		t.Errorf("%d rows were tried, and n3 has %s: want that 7 goes and n3 keeps what nobody has had, and what meets in a partial index", n, got)
	}
}

// caughtUpUnblocking waits until n3 has what n2 has committed, and meanwhile takes off what
// is in the way.
func (l *lab) caughtUpUnblocking() *Touched {
	l.Helper()
	off := newTouched()
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	l.must(Meanwhile(ctx,
		func(ctx context.Context) error { return l.m.WaitCaughtUp(ctx, "n2", "n3") },
		func(ctx context.Context) {
			found, err := l.unblock(ctx)
			if err != nil && ctx.Err() == nil {
				l.Error(err)
			}
			if off, err = merge([]*Touched{off, found}); err != nil {
				l.Error(err)
			}
		}))
	return off
}

// unblock is Unblock for n3, which reads from n2.
func (l *lab) unblock(ctx context.Context) (*Touched, error) {
	l.Helper()
	return l.unblockBehind(ctx, func() {})
}

// unblockBehind does something when it is known what n3 has applied.
func (l *lab) unblockBehind(ctx context.Context, then func()) (*Touched, error) {
	l.Helper()
	progress := func() topology.LSN {
		return l.lsn("n3", `select coalesce(pg_replication_origin_progress('`+l.origin("n3", "n2")+`', false), '0/0')::text`)
	}
	from := progress()
	then()
	slot := l.text("n3", `select subslotname::text from pg_subscription where subname = 'sub_n3_from_n2'`)
	stream, err := OpenNext(ctx, l.connect("n2", "replication=database"), from, StreamOptions{
		Node: "n2", Slot: slot, Publications: []string{localpg.Publication}, Until: l.flushed("n2"),
	})
	if err != nil {
		return newTouched(), err
	}
	defer func() { l.must(stream.Close(context.WithoutCancel(ctx))) }()
	return Unblock(ctx, l.peers(), Blocked{
		Node: "n3", Provider: "n2", Next: stream,
		Waits: func(context.Context) (bool, error) { return progress() == from, nil },
	}, "n1", l.conflicts)
}
