package rescue

import "testing"

// TestTablesWithoutAKeyAreBags has equal rows side by side, and changes of them by
// the source which the laggard skipped for lack of the gap.
func TestTablesWithoutAKeyAreBags(t *testing.T) {
	l := newLab(t, []string{
		`create table log (v text, n numeric)`,
		`create table f (v text, n int, x text); alter table f replica identity full`,
	}, `insert into log values ('seed', 1)`, `insert into f values ('seed', 1), ('seed', 1), ('seed', null), ('gone', 1)`)
	l.exec("n3", `insert into log values ('same', 1.50)`)
	l.caughtUp("n2", "n3")
	l.exec("n1", `insert into log values ('same', 1.50), ('same', 1.5), ('', null), (null, null), ('seed', 1)`)
	l.exec("n1", `insert into f values ('a', 1), ('a', 1), ('b', 2), ('c', null), ('d', 4)`)
	l.exec("n1", `delete from f where ctid = (select min(ctid) from f where v = 'seed' and n = 1)`)
	l.exec("n1", `update f set x = '' where v = 'seed' and n is null`)
	l.exec("n1", `update f set x = 'n1' where v = 'gone'`)
	l.caughtUp("n1", "n2")
	l.exec("n2", `delete from f where ctid = (select min(ctid) from f where v = 'a')`)
	l.exec("n2", `update f set n = 3 where v = 'b'`)
	l.exec("n2", `delete from f where v = 'c'`)
	l.lose()
	l.exec("n2", `insert into log values ('n2', 1); insert into f values ('d', 4)`)
	l.exec("n3", `insert into log values ('n3', 1)`)
	report, verified := l.heal()
	t.Logf("%+v\n%+v", report, verified)
	l.sameContent("log")
	l.sameContent("f")
	if got, want := l.text("n3", `select string_agg(concat(v, n), ' ' order by concat(v, n)) from f`), "a1 b3 d4 d4 gone1 seed seed1"; got != want {
		t.Errorf("table f has %s, want %s", got, want)
	}
	if got := l.text("n3", `select count(*)::text from log where v = 'same'`); got != "3" {
		t.Errorf("%s rows where the gap has two and the laggard one", got)
	}
	if verified.Differing != 4 || verified.Repaired != 4 {
		t.Errorf("verification: %+v; want a, b, b3 and c repaired", verified)
	}
	_, again := l.heal()
	if again.Differing != 0 {
		t.Errorf("a second healing found %+v", again)
	}
}
