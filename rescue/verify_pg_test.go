package rescue

import (
	"testing"
)

// TestVerifyRepairsWhatReplayAloneDiverges has, side by side, the ways in which a
// write on a survivor meets a transaction of the gap. Each row of table t is one
// case; the columns say who wrote last.
func TestVerifyRepairsWhatReplayAloneDiverges(t *testing.T) {
	l := newLab(t, []string{`create table t (id text primary key, v text)`},
		`insert into t select 'old' || i, 'seed' from generate_series(1, 9) i`)

	// The gap: n3 does not see it.
	l.exec("n1", `insert into t select 'new' || i, 'n1' from generate_series(1, 9) i`)
	l.exec("n1", `update t set v = 'n1' where id in ('old1', 'old2', 'old3')`)
	l.exec("n1", `delete from t where id in ('old4', 'old5', 'old6')`)
	l.caughtUp("n1", "n2")
	// n3 has no such row and skips what n2 does to it.
	l.exec("n2", `update t set v = 'n2 later' where id = 'new1'`)
	l.exec("n2", `delete from t where id = 'new2'`)
	l.exec("n2", `update t set id = 'moved' where id = 'new3'`)
	// Rows that both have.
	l.exec("n2", `update t set v = 'n2 later' where id = 'old1'`)
	l.exec("n3", `update t set v = 'n3 later' where id = 'old2'`)
	l.exec("n3", `delete from t where id = 'old3'`)
	// n2 has lost it to n1 and skips the later write of n3.
	l.exec("n3", `update t set v = 'n3 later' where id = 'old4'`)
	l.lose()

	// After the fence the survivors work on.
	l.exec("n2", `delete from t where id = 'new5'`)
	l.exec("n2", `update t set v = 'n2 after' where id = 'new6'`)
	l.exec("n2", `update t set id = 'moved after' where id = 'new8'`)
	l.watch()

	report, verified := l.heal()
	t.Logf("%+v\n%+v", report, verified)
	l.caughtUp("n2", "n3")
	l.same("t")
	for id, want := range map[string]string{
		"new1": "n2 later", "new2": "", "new3": "", "moved": "n1", "old1": "n2 later", "old2": "n3 later", "old3": "",
		"old4": "n3 later", "old5": "", "new5": "", "new6": "n2 after", "new8": "", "moved after": "n1", "new7": "n1",
	} {
		for _, n := range []string{"n2", "n3"} {
			if got := l.text(n, `select coalesce((select v from t where id = '`+id+`'), '')`); got != want {
				t.Errorf("%s: row %s is %q, want %q", n, id, got, want)
			}
		}
	}
	if got := l.watched("none"); len(got) != 0 {
		t.Errorf("the mesh would forward %d messages from n3: %v", len(got), got)
	}
	if got := l.watched("any"); len(got) == 0 {
		t.Error("the watching slot sees nothing, so it proves nothing")
	}

	// Once more: everything is equal now.
	_, touched, err := l.replay()
	l.must(err)
	again, err := l.verify(touched)
	l.must(err)
	if again.Differing != 0 || again.Rows != verified.Rows {
		t.Errorf("a second verification found %+v after %+v", again, verified)
	}
}
