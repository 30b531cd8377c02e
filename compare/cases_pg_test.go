package compare

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/topology"
)

func wantBrief(t *testing.T, r Report, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), brief(r)); diff != "" {
		t.Errorf("differences (-want +got):\n%s\n%+v", diff, r.Tables)
	}
}

// TestCopiesThatXORHides has, in a table without a key, two copies of one row on
// one node and two of another on the other.
func TestCopiesThatXORHides(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (v text); insert into t values ('same')`)
	p.exec("n1", `insert into t values ('a'), ('a')`)
	p.exec("n2", `insert into t values ('b'), ('b')`)
	wantBrief(t, p.compare(Options{}, table("t")),
		"public.t (a) n1:2 n2:0 differs", "public.t (b) n1:0 n2:2 differs")
}

// TestLopsided has the planner believe that the node with a handful of rows has the
// most, so that the bounds of blocks come from there.
func TestLopsided(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (id int primary key, v int)`)
	p.exec("n1", `insert into t select i, 0 from generate_series(1, 4000) i; analyze t; delete from t where id > 3`)
	p.exec("n2", `alter table t set (autovacuum_enabled = off); insert into t select i, 0 from generate_series(1, 4000) i`)
	r := p.compare(Options{BlockRows: 100, MaxDifferences: 100_000}, table("t"))
	got := r.Tables[0]
	if got.Differing != 3997 || got.Rows["n1"] != 3 || got.Rows["n2"] != 4000 || got.Method != Ranges {
		t.Errorf("%+v", got)
	}
}

// TestCap stops looking when enough is known, and says so; a repair goes on to the
// end all the same.
func TestCap(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (id int primary key, v int); create table loose (v int);
		insert into t select i, 0 from generate_series(1, 5000) i`)
	p.exec("n2", `update t set v = 1; insert into loose select generate_series(1, 5000)`)
	r := p.compare(Options{BlockRows: 50, MaxDifferences: 20}, table("t"), table("loose"))
	for _, got := range r.Tables {
		if got.Differing < 20 || got.Listed != 20 || !got.Partial() || (got.Method == Ranges && (got.Unexplored == 0 || got.Differing == 5000)) {
			t.Errorf("%+v", got)
		}
	}
	if !r.Partial || r.Result != Differ || len(r.Differences) != 40 {
		t.Errorf("partial %v, %s, %d listed", r.Partial, r.Result, len(r.Differences))
	}
	r = p.compare(Options{BlockRows: 50, MaxDifferences: 20, Repair: true}, table("t"))
	got := r.Tables[0]
	if got.Repaired != 5000 || got.Unexplored != 0 || got.Listed != 20 || r.Result != Equal || !r.Partial {
		t.Errorf("after a repair: %s %+v", r.Result, got)
	}
	if r = p.compare(Options{}, table("t")); r.Result != Equal {
		t.Errorf("behind the repair: %s", r.Result)
	}
}

// TestRepairOfMany has rows of many writes, of both nodes, of which a constraint
// refuses one, and some that are large: all others are repaired, with the commit
// timestamps of the writes that won, and the refused one is named.
func TestRepairOfMany(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (id int primary key, v int, w text); insert into t select i, 0, '' from generate_series(1, 3000) i`)
	p.exec("n1", `do $$ begin for i in 1..300 loop update t set v = i where id = i; commit; end loop; end $$`)
	p.exec("n1", `delete from t where id between 301 and 400; update t set v = 7, w = repeat('x', 100000) where id between 401 and 500`)
	p.exec("n2", `update t set v = -1 where id between 501 and 900; insert into t select i, i, 'new' from generate_series(5001, 6000) i`)
	p.exec("n2", `alter table t add constraint odd check (v <> 150)`)
	r := p.compare(Options{Repair: true, MaxDifferences: 5000}, table("t"))
	if got := r.Tables[0]; got.Differing != 1900 || got.Repaired != 1899 || r.Result != Differ {
		t.Errorf("%s %+v", r.Result, got)
	}
	for _, d := range r.Differences {
		if d.State != "repaired" && (d.Key[0] != "150" || !strings.Contains(d.Problem, "odd")) {
			t.Errorf("%+v", d)
		}
	}
	p.exec("n2", `alter table t drop constraint odd`)
	if r := p.compare(Options{Repair: true}, table("t")); r.Tables[0].Repaired != 1 || r.Result != Equal {
		t.Errorf("behind that: %s %+v", r.Result, r.Tables[0])
	}
	all := `select id, v, md5(w), pg_xact_commit_timestamp(xmin)::text from t where id <= 300 or id between 401 and 900 or id > 5000 order by id`
	if diff := cmp.Diff(p.lines("n1", all), p.lines("n2", all)); diff != "" {
		t.Errorf("n1 (-) and n2 (+):\n%s", diff)
	}
}

// TestHotRows has rows that change with every barrier: nothing is known of them.
func TestHotRows(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (id int primary key, v int); create table loose (v int);
		insert into t select i, 0 from generate_series(1, 100) i`)
	p.exec("n2", `update t set v = -1 where id = 3`)
	n := 0
	hot := func(context.Context) error {
		n++
		p.exec("n1", fmt.Sprintf(`update t set v = %d where id = 7; delete from loose; insert into loose values (1)`, n))
		return nil
	}
	p.exec("n1", `update t set v = 1 where id = 7; insert into loose values (1)`)
	r := p.compare(Options{Barrier: hot, Rounds: 4}, table("t"), table("loose"))
	wantBrief(t, r, "public.loose (1) n1:1 n2:0 unsettled", "public.t [3] n1:1 n2:1 differs", "public.t [7] n1:1 n2:1 unsettled")
	if r.Unsettled != 2 || r.Differing != 1 || r.Result != Differ {
		t.Errorf("%s: %+v", r.Result, r.Tables)
	}
	p.exec("n2", `update t set v = 0 where id = 3`)
	p.exec("n1", `update t set v = 0 where id = 3`)
	if r = p.compare(Options{Barrier: hot, Rounds: 2}, table("t")); r.Result != Incomplete {
		t.Errorf("with nothing but an unsettled row: %s", r.Result)
	}
}

// TestOnTheWay has differences that the barrier brings to an end.
func TestOnTheWay(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (id int primary key); create table loose (v int)`)
	p.exec("n1", `insert into t values (1); insert into loose values (1), (1)`)
	arrive := func(context.Context) error {
		p.exec("n2", `insert into t values (1) on conflict do nothing; delete from loose; insert into loose values (1), (1)`)
		return nil
	}
	if r := p.compare(Options{Barrier: arrive}, table("t"), table("loose")); r.Result != Equal {
		t.Errorf("%s: %+v", r.Result, r.Differences)
	}
}

// TestPartOfTheTable compares the columns and rows that are replicated.
func TestPartOfTheTable(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (id int primary key, v int, w int); insert into t select i, 0, 0 from generate_series(1, 100) i`)
	p.exec("n2", `update t set w = 1; update t set v = 1 where id in (10, 90)`)
	s := table("t")
	s.Columns, s.Filters = []string{"id", "v"}, []string{"(id > 50) OR (id < 5)", "(id % 2 = 0)"}
	wantBrief(t, p.compare(Options{BlockRows: 8}, s), "public.t [90] n1:1 n2:1 differs")
}

// TestOwnTypes has keys of types whose operators are outside of pg_catalog, alone
// and in company.
func TestOwnTypes(t *testing.T) {
	p := newPair(t)
	p.both(`create domain "my int" as int check (value > 0);
		create type pt as (x int, y text);
		create table d (id "my int" primary key, v int);
		create table c (id pt primary key, v int);
		insert into d select i, 0 from generate_series(1, 300) i;
		insert into c select (i % 7, 'y' || i)::pt, 0 from generate_series(1, 300) i`)
	p.exec("n2", `update d set v = 1 where id = 17; delete from c where (id).y = 'y18'`)
	wantBrief(t, p.compare(Options{BlockRows: 16}, table("d"), table("c")),
		"public.c [(4,y18)] n1:1 n2:0 differs", "public.d [17] n1:1 n2:1 differs")
}

// TestSameKeyInOtherWords has keys that are equal without being the same text.
func TestSameKeyInOtherWords(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (id numeric primary key, v int)`)
	p.exec("n1", `insert into t select i, 0 from generate_series(1, 100) i`)
	p.exec("n2", `insert into t select i::numeric(10, 2), 0 from generate_series(1, 100) i`)
	r := p.compare(Options{BlockRows: 16}, table("t"))
	if r.Result != Differ {
		t.Errorf("%s: 1 and 1.00 are not the same row", r.Result)
	}
	r = p.compare(Options{BlockRows: 16, Repair: true}, table("t"))
	if r.Result != Equal || p.compare(Options{}, table("t")).Result != Equal {
		t.Errorf("after a repair: %s %+v", r.Result, r.Tables)
	}
}

// TestTrouble has tables that cannot be compared beside one that can.
func TestTrouble(t *testing.T) {
	p := newPair(t)
	p.both(`create table good (id int primary key); create table slow (id int primary key);
		create table bad (id int primary key, v int)`)
	p.exec("n1", `create table alone (id int primary key)`)
	p.both(`insert into slow values (1); insert into bad values (1, 1)`)
	slow := table("slow")
	slow.Filters = []string{"pg_catalog.pg_sleep(600) IS NOT NULL"}
	bad := table("bad")
	bad.Filters = []string{"v / 0 > 1"}
	one := table("good")
	one.Nodes = []string{"n1"}
	r, err := Run(t.Context(), p.nodes(), []Spec{table("alone"), bad, slow, one, table("good")}, Options{
		BlockTimeout: 2 * time.Second, Barrier: func(context.Context) error { return nil },
	})
	if err != nil || r.Result != Incomplete {
		t.Fatalf("%s, %v", r.Result, err)
	}
	for i, want := range []string{"n2: there is no such table", "division by zero", "a block took longer than 2s", "only one of the nodes has it", ""} {
		if got := r.Tables[i].Problem; !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: problem %q, want %q", r.Tables[i].Table, got, want)
		}
	}
	if _, err := Run(t.Context(), p.nodes()[:1], nil, Options{}); err == nil {
		t.Error("one node alone is compared")
	}
}

// TestGuardAndBarrier end the comparison with their errors, and what was found by
// then is in the report.
func TestGuardAndBarrier(t *testing.T) {
	p := newPair(t)
	p.both(`create table t (id int primary key)`)
	p.exec("n1", `insert into t values (1)`)
	no := topology.Faultf(topology.Conflict, "recovery_running", "no")
	refuse := func(context.Context) error { return no }
	fine := func(context.Context) error { return nil }
	for name, o := range map[string]Options{
		"guard":   {Barrier: fine, Guard: refuse, Repair: true},
		"barrier": {Barrier: refuse},
	} {
		r, err := Run(t.Context(), p.nodes(), []Spec{table("t")}, o)
		if !errors.Is(err, no) || r.Result != Incomplete || len(r.Tables) != 1 {
			t.Errorf("%s: %v, %s", name, err, r.Result)
		}
	}
	if got := p.lines("n2", `select count(*) from t`); got[0][0] != "0" {
		t.Error("repaired although the guard refused")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, p.nodes(), []Spec{table("t")}, Options{Barrier: fine}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
