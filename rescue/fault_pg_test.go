package rescue

import (
	"strings"
	"testing"

	"healer/topology"
)

// hidden makes what follows it in a session invisible to the mesh.
const hidden = `set session_replication_role = replica; select pg_replication_origin_create('test');
	select pg_replication_origin_session_setup('test'); `

// TestReplayStopsAtWhatItCannotCarry has, for each thing that cannot be done, the
// gap that needs it, and expects a permanent fault which names the table and
// leaves everything before it applied, nothing after.
func TestReplayStopsAtWhatItCannotCarry(t *testing.T) {
	schema := []string{
		`create table t (id int primary key, v int)`,
		`create table other (id int primary key, code int unique)`,
	}
	for name, c := range map[string]struct {
		laggard, gap string
		code, says   string
	}{
		"missing table":      {`drop table other`, `insert into other values (1, 1)`, "table_missing", "public.other"},
		"missing column":     {`alter table other drop column code`, `insert into other values (1, 1)`, "column_missing", "public.other"},
		"no key":             {`alter table other drop constraint other_pkey`, `insert into other values (1, 1)`, "no_usable_key", "public.other"},
		"key not deferrable": {`alter table other drop constraint other_pkey, add primary key (id) deferrable`, `insert into other values (1, 1)`, "no_usable_key", "public.other"},
		"check violation":    {`alter table other add constraint small check (code < 100)`, `insert into other values (1, 100)`, "constraint_violated", "small"},
		"type mismatch":      {`alter table other alter code type bool using false`, `insert into other values (1, 7)`, "change_rejected", "public.other"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, schema)
			if c.laggard != "" {
				// n2 must not learn of it.
				l.exec("n3", hidden+c.laggard)
			}
			l.exec("n1", `insert into t values (1, 1)`)
			l.exec("n1", c.gap)
			l.exec("n1", `insert into t values (2, 2)`)
			l.lose()
			for range 2 { // it stays so
				_, _, err := l.replay()
				wantFault(t, err, topology.Permanent, c.code)
				if !strings.Contains(err.Error(), c.says) {
					t.Errorf("the fault does not say %s: %v", c.says, err)
				}
				if got := l.text("n3", `select coalesce(string_agg(id::text, ','), '') from t`); got != "1" {
					t.Errorf("table t has %s, want the row before the fault alone", got)
				}
				if got := l.progress("n3"); got >= l.gap().Watermark || got <= l.floor {
					t.Errorf("progress %s is not between %s and %s", got, l.floor, l.gap().Watermark)
				}
			}
		})
	}
}

// TestReplayIntoAnotherColumnOrder has T's columns in another order, one more of
// them, and a generated one in between.
func TestReplayIntoAnotherColumnOrder(t *testing.T) {
	l := newLab(t, []string{`create table t (a int, b text, c numeric, primary key (a, b))`})
	l.exec("n3", `alter table t drop column c; alter table t add column x int default 7,
		add column g int generated always as (a * 10) stored, add column c numeric`)
	l.exec("n1", `insert into t values (1, 'one', 1.5), (2, 'two', null)`)
	l.exec("n1", `update t set c = 3 where a = 2`)
	l.exec("n1", `update t set a = 5 where a = 1`)
	l.lose()
	_, touched, err := l.replay()
	l.must(err)
	if got, want := l.text("n3", `select string_agg((a, b, c, x, g)::text, ' ' order by a) from t`), "(2,two,3,7,20) (5,one,1.5,7,50)"; got != want {
		t.Errorf("table t has %s, want %s", got, want)
	}
	verified, err := l.verify(touched)
	l.must(err)
	if verified.Differing != 0 || verified.Rows != 3 {
		t.Errorf("verification: %+v", verified)
	}
}
