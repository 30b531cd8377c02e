package rescue

import (
	"context"
	"testing"

	"healer/topology"
)

// TestRowsThatAreInTheWayAreTakenOff: the source deletes a row of the gap, which the
// laggard receives while it lacks the row, and inserts it anew, which the laggard
// receives when the gap has given it the row.
func TestRowsThatAreInTheWayAreTakenOff(t *testing.T) {
	t.Parallel()
	l := newLab(t, []string{`create table t (id int primary key, v text)`}, `insert into t values (0, 'old')`)
	l.exec("n1", `insert into t values (1, 'n1'), (2, 'n1'), (3, 'n1'), (4, 'n1')`)
	l.exec("n1", `update t set v = 'n1' where id = 0`)
	l.lose()
	l.exec("n2", `delete from t where id in (1, 2)`)
	l.caughtUp("n2", "n3")
	gap := l.gap()
	settle := gap.Settle
	gap.Settle = func(ctx context.Context) (topology.LSN, error) {
		l.exec("n2", `insert into t values (1, 'n2')`)
		l.exec("n2", `update t set v = 'n2' where id = 3`)
		return settle(ctx)
	}
	freed, failed := 0, int64(0)
	gap.Free = func(ctx context.Context, touched *Touched) {
		peers := l.peers() // n3, n2
		now, err := ApplyFailures(ctx, peers[0].Conn)
		l.must(err)
		if now == failed {
			return
		}
		failed = now
		n, err := Free(ctx, peers[1], peers[0], "n1", touched)
		l.must(err)
		freed += n
	}
	_, touched, err := l.replayGap("n3", gap)
	l.must(err)
	if freed != 2 && freed != 3 { // 3 is gone unless its UPDATE came first
		t.Errorf("%d rows were taken off, want those that n2 has deleted or written anew", freed)
	}
	_, err = l.verify(touched)
	l.must(err)
	const all = `select string_agg(id || v, ' ' order by id) from t`
	if got, want := l.text("n3", all), "0n1 1n2 3n2 4n1"; got != want || l.text("n2", all) != want {
		t.Errorf("n3 has %s, n2 %s, want %s", got, l.text("n2", all), want)
	}
	l.caughtUp("n2", "n3")
}

// TestRowsOfOneThatIsApart: the laggard is back and fenced off by the source. A row that
// it has written meanwhile comes over its stream, which would fail if the row were there
// already; what others have written it gets at once.
func TestRowsOfOneThatIsApart(t *testing.T) {
	t.Parallel()
	l := newLab(t, []string{`create table t (id int primary key, v text)`}, `insert into t values (0, 'old')`)
	l.exec("n1", `insert into t values (1, 'n1'), (2, 'n1'), (3, 'n1'), (4, 'n1')`)
	l.lose()
	l.exec("n2", `delete from t where id in (2, 3)`)
	l.exec("n2", `update t set v = 'n2' where id = 4`)
	l.caughtUp("n2", "n3")
	l.exec("n2", `alter subscription sub_n2_from_n3 disable`)
	l.exec("n3", `insert into t values (2, 'n3')`)
	gap := l.gap()
	gap.Settle = func(context.Context) (topology.LSN, error) { return l.flushed("n2"), nil }
	_, touched, err := l.replayGap("n3", gap)
	l.must(err)

	peers := l.peers()
	peers[0].Apart = true // n3
	standing := func(context.Context) error { return nil }
	report, err := Verify(l.Context(), peers, []*Touched{touched}, standing, Policy{})
	l.must(err)
	if report.Differing != 2 || report.Repaired != 2 {
		t.Errorf("%+v: want that 3 and 4 are repaired, and nothing else", report)
	}
	const all = `select string_agg(id || v, ' ' order by id) from t`
	if got, want := l.text("n3", all), "0old 1n1 2n3 4n2"; got != want {
		t.Errorf("n3 has %s, want %s", got, want)
	}
	if got, want := l.text("n2", all), "0old 1n1 4n2"; got != want {
		t.Errorf("n2 has %s, want %s until the stream brings the rest", got, want)
	}
	l.exec("n2", `alter subscription sub_n2_from_n3 enable`)
	l.caughtUp("n2", "n3")
	l.same("t")
}
