package rescue

import (
	"strings"
	"testing"

	"healer/topology"
)

// TestTruncateSparesWhatIsNewer has a gap that truncates tables in which the
// survivors have written since, the laggard before it knows of the TRUNCATE.
func TestTruncateSparesWhatIsNewer(t *testing.T) {
	l := newLab(t, []string{
		`create table t (id serial primary key, v text); create table child (id int primary key, p int references t)`,
		`create table u (id int generated always as identity primary key, v text)`,
		`create table log (v text)`,
		`create table own (id int primary key, v text)`,
	},
		`insert into t (v) select 'seed' from generate_series(1, 10)`, `insert into child values (1, 1)`,
		`insert into u (v) select 'seed' from generate_series(1, 10)`, `insert into log values ('seed')`)
	l.exec("n3", `update t set v = 'n3 before' where id = 4; select setval('t_id_seq', 100); select setval('u_id_seq', 100)`)
	l.caughtUp("n2", "n3")
	l.exec("n1", `insert into t values (50, 'n1 before')`)
	l.exec("n1", `truncate t, u restart identity cascade`)
	l.exec("n1", `insert into t values (60, 'n1 after')`)
	l.exec("n1", `begin; insert into log values ('before'); truncate log; insert into log values ('after'); commit`)
	l.exec("n1", `insert into own values (1, 'n1'), (2, 'n1')`)
	l.caughtUp("n1", "n2")
	// The laggard knows nothing of it. The source has no row 3 to update.
	l.exec("n3", `update t set v = 'n3 later' where id = 3; insert into t values (70, 'n3 later')`)
	l.exec("n2", `insert into t values (80, 'n2 later')`)
	// The laggard has no row to remove when this comes.
	l.exec("n2", `truncate own`)
	l.exec("n2", `insert into own values (2, 'n2')`)
	l.lose()
	report, verified := l.heal()
	t.Logf("%+v\n%+v", report, verified)
	l.same("t", "child", "u", "log", "own")
	for table, want := range map[string]string{
		"t": "(3,n3 later) (60,n1 after) (70,n3 later) (80,n2 later)", "child": "", "u": "", "log": "(after)", "own": "(2,n2)",
	} {
		if got := l.text("n3", `select coalesce(string_agg(x::text, ' ' order by x::text), '') from `+table+` x`); strings.ReplaceAll(got, `"`, "") != want {
			t.Errorf("table %s has %s, want %s", table, got, want)
		}
	}
	// A sequence begins anew only where nothing is left that it could collide with.
	if got := l.text("n3", `select nextval('t_id_seq') || ' ' || nextval('u_id_seq')`); got != "101 1" {
		t.Errorf("sequences go on with %s, want 101 1", got)
	}
	for _, tab := range report.Tables {
		if want := map[string]int64{"public.t": 1, "public.child": 1, "public.u": 1, "public.log": 1}[tab.Table]; tab.Truncates != want {
			t.Errorf("table %s: %d truncates reported, want %d", tab.Table, tab.Truncates, want)
		}
	}
	_, again := l.heal()
	if again.Differing != 0 {
		t.Errorf("a second healing found %+v", again)
	}
}

// TestTruncateWithoutIdentityStops has newer rows in a table whose rows can only
// go all at once.
func TestTruncateWithoutIdentityStops(t *testing.T) {
	l := newLab(t, []string{`create table log (v text)`}, `insert into log values ('seed')`)
	l.exec("n1", `truncate log`)
	l.exec("n3", `insert into log values ('n3 later')`)
	l.lose()
	_, _, err := l.replay()
	wantFault(t, err, topology.Permanent, "change_rejected")
	if !strings.Contains(err.Error(), "1 rows are newer") {
		t.Errorf("the fault does not say why: %v", err)
	}
	// The operator takes the older rows away, and puts the newer ones back later.
	l.exec("n3", hidden+`create table kept as table log; truncate log`)
	_, touched, err := l.replay()
	l.must(err)
	l.exec("n3", `select pg_replication_origin_session_setup('test'); insert into log select * from kept where v <> 'seed'`)
	_, err = l.verify(touched)
	l.must(err)
	l.sameContent("log")
}
