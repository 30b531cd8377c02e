package rescue

import (
	"slices"
	"testing"

	"healer/internal/localpg"
	"healer/topology"
)

// TestFiltersAndColumnLists has a gap of tables of which only some rows and some
// columns are replicated.
func TestFiltersAndColumnLists(t *testing.T) {
	l := newLabWith(t, localpg.Options{
		Nodes: 3, Links: true, Tables: []string{`f (id, grp, a) where (grp > 0)`, `listed (id, a)`, `plain`},
		Schema: []string{
			`create table f (id int, grp int, a text, own text default 'default', primary key (id, grp))`,
			`create table listed (id int primary key, own text not null default 'default', a text)`,
			`create table plain (id int primary key)`, `create table private (id int primary key)`,
		},
	}, nil, `insert into f values (1, 1, 'seed'), (2, 1, 'seed'), (3, -1, 'seed'), (4, 1, 'seed')`, `insert into listed (id, a) values (1, 'seed')`)
	l.exec("n3", `alter table listed alter own set default 'n3'`)
	for _, sql := range []string{
		`update f set grp = -1 where id = 1`, // out of the filter
		`update f set grp = 2 where id = 3`,  // into it
		`update f set grp = 5, a = 'within' where id = 2`,
		`update f set a = 'changed', own = 'n1' where id = 4`,
		`insert into f values (10, 1, 'new'), (11, -1, 'unseen')`,
		`update listed set a = 'changed', own = 'n1' where id = 1`,
		`insert into listed values (2, 'n1', 'new')`,
		`insert into plain values (1); insert into private values (1)`,
	} {
		l.exec("n1", sql)
	}
	l.caughtUp("n1", "n2")
	l.exec("n2", `update listed set own = 'n2'`)
	l.lose()
	gap := l.gap()
	gap.Tables = slices.DeleteFunc(slices.Clone(gap.Tables), func(n topology.TableName) bool { return n.Name == "plain" })
	report, touched, err := l.replayGap("n3", gap)
	l.must(err)
	t.Logf("%+v", report)
	verified, err := l.verify(touched)
	l.must(err)
	if verified.Differing != 0 || verified.Rows == 0 {
		t.Errorf("verification: %+v", verified)
	}
	for _, n := range []string{"n2", "n3"} {
		if got, want := l.text(n, `select string_agg((id, grp, a)::text, ' ' order by id) from f`),
			`(2,5,within) (3,2,seed) (4,1,changed) (10,1,new)`; got != want {
			t.Errorf("%s: table f has %s, want %s", n, got, want)
		}
	}
	if got, want := l.text("n3", `select string_agg(listed::text, ' ' order by id) from listed`), `(1,default,changed) (2,n3,new)`; got != want {
		t.Errorf("table listed has %s, want %s", got, want)
	}
	i := slices.IndexFunc(report.Tables, func(r TableReport) bool { return r.Table == "public.plain" })
	if i < 0 || report.Tables[i].LeftOut != 1 || report.Tables[i].Inserts != 0 {
		t.Errorf("the change of a table that the laggard does not replicate is not counted: %+v", report.Tables)
	}
	if got := l.text("n3", `select (select count(*) from plain) || ' ' || (select count(*) from private)`); got != "0 0" {
		t.Errorf("rows that are not the laggard's business: %s", got)
	}
}

// TestPartitionsThroughTheirRoot has the laggard's table partitioned otherwise.
func TestPartitionsThroughTheirRoot(t *testing.T) {
	l := newLabWith(t, localpg.Options{Nodes: 3, Links: true, Schema: []string{
		`create table p (id int, at date, v text, primary key (id, at)) partition by range (at)`,
		`create table p_old partition of p for values from (minvalue) to ('2020-01-01')`,
		`create table p_new partition of p for values from ('2020-01-01') to (maxvalue)`,
		`create table flat (id int primary key, v text) partition by hash (id)`,
		`create table flat_0 partition of flat for values with (modulus 1, remainder 0)`,
	}}, func(l *lab) {
		l.exec("n3", `drop table p; create table p (v text, at date, id int, primary key (at, id)) partition by list (id);
			create table p_1 partition of p for values in (1); create table p_rest partition of p default;
			drop table flat; create table flat (id int primary key, v text)`)
		for _, n := range l.m.Names() {
			l.exec(n, `alter publication mesh set (publish_via_partition_root = true)`)
		}
		for _, n := range l.m.Names() {
			for _, from := range l.m.Names() {
				if from != n {
					l.exec(n, `alter subscription `+localpg.SubscriptionName(n, from)+` refresh publication with (copy_data = false)`)
				}
			}
		}
	}, `insert into p values (1, '2019-01-01', 'seed'), (2, '2019-01-01', 'seed')`, `insert into flat values (1, 'seed')`)
	for _, sql := range []string{
		`insert into p values (1, '2020-01-01', 'new'), (3, '2021-01-01', 'new')`,
		`update p set v = 'changed' where id = 1`,
		`update p set at = '2022-02-02' where id = 2`,
		`update p set id = 1, at = '2000-01-01' where id = 3`,
		`delete from p where at = '2020-01-01'`,
		`begin; truncate flat; insert into flat values (2, 'after'); commit`,
	} {
		l.exec("n1", sql)
	}
	l.lose()
	report, verified := l.heal()
	t.Logf("%+v\n%+v", report, verified)
	l.same("p (id, at, v)", "flat")
	if got := l.text("n3", `select count(*)::text from p_1`); got != "2" {
		t.Errorf("partition p_1 of the laggard has %s rows, want 2", got)
	}
	if verified.Differing != 0 {
		t.Errorf("verification: %+v", verified)
	}
}

// TestHugeValues carries values of 50 MB, one of which a later change leaves alone.
func TestHugeValues(t *testing.T) {
	l := newLab(t, []string{`create table huge (id int primary key, n int, t text, b bytea)`})
	// A worker in the middle of a value would not end for long.
	l.m.Link("n1", "n3").Refuse()
	l.exec("n1", `insert into huge select 1, 1, repeat(md5('t'), 1600000), null`)
	l.exec("n1", `update huge set n = 2`)
	l.exec("n1", `insert into huge select 2, 1, null, decode(repeat(md5('b'), 3200000), 'hex')`)
	l.lose()
	_, verified := l.heal()
	for _, n := range []string{"n2", "n3"} {
		if got := l.text(n, `select string_agg(concat_ws(' ', id, n, length(t), length(b)), ', ' order by id) from huge`); got != "1 2 51200000, 2 1 51200000" {
			t.Errorf("%s has %s", n, got)
		}
	}
	sums := `select string_agg(md5(concat(t, b)), ' ' order by id) from huge`
	if a, b := l.text("n2", sums), l.text("n3", sums); a != b {
		t.Errorf("values differ: %s and %s", a, b)
	}
	if verified.Differing != 0 {
		t.Errorf("verification: %+v", verified)
	}
}
