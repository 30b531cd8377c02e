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
	freed := map[string]int{}
	gap.Free = l.freeing(freed)
	_, touched, err := l.replayGap("n3", gap)
	l.must(err)
	if n := freed["n3"]; n != 2 && n != 3 || len(freed) > 1 { // 3 is gone unless its UPDATE came first
		t.Errorf("%v rows were taken off, want those that n2 has deleted or written anew", freed)
	}
	_, err = l.verify(touched)
	l.must(err)
	const all = `select string_agg(id || v, ' ' order by id) from t`
	if got, want := l.text("n3", all), "0n1 1n2 3n2 4n1"; got != want || l.text("n2", all) != want {
		t.Errorf("n3 has %s, n2 %s, want %s", got, l.text("n2", all), want)
	}
	l.caughtUp("n2", "n3")
}

// freeing is a Gap.Free which looks at all survivors; it counts in freed.
func (l *lab) freeing(freed map[string]int, more ...*Touched) func(context.Context, *Touched) {
	failed, peers := map[string]string{}, l.peers()
	return func(ctx context.Context, touched *Touched) {
		var failing []string
		for _, p := range peers {
			got, err := rows(ctx, p.Conn, `select sum(apply_error_count)::text from pg_stat_subscription_stats`)
			if ctx.Err() != nil {
				return // the wait is over
			}
			if err != nil {
				l.Error(err)
				return
			}
			now := string(got[0][0])
			if now != failed[p.Node] {
				failing = append(failing, p.Node)
			}
			failed[p.Node] = now
		}
		for _, t := range append(more, touched) {
			tried, err := Free(ctx, peers, failing, t, "n1", l.conflicts)
			if err != nil && ctx.Err() == nil {
				l.Error(err)
			}
			for node, n := range tried {
				freed[node] += n
			}
		}
	}
}

// TestRowsInTheWayOfAThird: n3 has its gap, and n4 is given its own. Now n2 writes rows
// that it has deleted before, one with the very same contents; another one takes over the
// unique value of one that it has deleted. The workers of n3 fail at each, and n4 waits
// for them.
func TestRowsInTheWayOfAThird(t *testing.T) {
	t.Parallel()
	l := newLabOf(t, 4, []string{`create table t (id int primary key, u int unique, v text)`}, `insert into t values (0, 0, 'old')`)
	l.exec("n1", `insert into t select i, i, 'n1' from generate_series(1, 6) i`)
	l.lose()
	l.exec("n2", `delete from t where id in (1, 2, 4)`)
	l.exec("n2", `update t set u = -5 where id = 5`)
	l.caughtUp("n2", "n3", "n4")
	_, first, err := l.replayTo("n3")
	l.must(err)

	gap := l.gap()
	settle := gap.Settle
	gap.Settle = func(ctx context.Context) (topology.LSN, error) {
		for _, sql := range []string{
			`insert into t values (1, 1, 'n2')`, `insert into t values (2, 2, 'n1')`,
			`insert into t values (7, 4, 'n2')`, `insert into t values (8, 5, 'n2')`,
		} {
			l.exec("n2", sql)
		}
		return settle(ctx)
	}
	freed := map[string]int{}
	gap.Free = l.freeing(freed, first)
	_, second, err := l.replayGap("n4", gap)
	l.must(err)
	if freed["n3"] < 4 || freed["n2"] > 0 {
		t.Errorf("%v rows were taken off, want 1, 2, 4 and 5 of n3, and none of n2", freed)
	}
	_, err = l.verify(first, second)
	l.must(err)
	const all = `select string_agg(id || '/' || u || v, ' ' order by id) from t`
	for _, n := range l.survivors() {
		if got, want := l.text(n, all), "0/0old 1/1n2 2/2n1 3/3n1 5/-5n1 6/6n1 7/4n2 8/5n2"; got != want {
			t.Errorf("%s has %s, want %s", n, got, want)
		}
	}
	l.caughtUp("n2", "n3", "n4")
	l.same("t")
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
