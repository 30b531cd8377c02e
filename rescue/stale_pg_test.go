package rescue

import (
	"context"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/topology"
)

// TestUnchangedValuesMeetAnOldRow has UPDATEs that are sent without the large value
// which they left alone, and a laggard that has another one: the row is then different
// at one commit timestamp and with one author. The source's row has to win, whichever
// row is greater: it is what the lost node has as well, which no repair reaches. Each
// case has enough rows for both orders of the contents.
func TestUnchangedValuesMeetAnOldRow(t *testing.T) {
	t.Parallel()
	const rows = 12
	each := ` from generate_series(1, ` + strconv.Itoa(rows) + `) i`
	l := newLab(t, []string{
		`create table t (id text primary key, v text, doc text)`,
		`alter table t alter doc set storage external`,
	}, `insert into t select 'old ' || i, 'seed', repeat(md5('seed' || i), 100)`+each)
	wide := func(by string) string { return `repeat(md5('` + by + `' || id), 100)` }

	l.exec("n1", `insert into t select c || i, 'n1', repeat(md5('n1' || i), 100)`+each+`, unnest('{"new ", "laggard "}'::text[]) c`)
	l.exec("n1", `update t set v = 'n1', doc = `+wide("n1")+` where id like 'old %'`)
	l.caughtUp("n1", "n2")
	// n3 has the row, and keeps the value of before the gap.
	l.exec("n2", `update t set v = 'n2' where id like 'old %'`)
	l.caughtUp("n2", "n3")
	l.lose()
	// n3 has no such row yet: it skips the value, and not what follows.
	l.exec("n2", `update t set v = 'n2', doc = `+wide("n2")+` where id ~ '^(new|laggard) '`)
	l.caughtUp("n2", "n3")
	_, touched, err := l.replay()
	l.must(err)
	l.exec("n2", `update t set v = 'n2 again' where id like 'new %'`)

	// The lost node is back, and the laggard writes before the rows are compared.
	l.must(l.m.Node("n1").Start(l.Context()))
	l.eventually("n1 has what n2 wrote", func() bool {
		return l.text("n1", `select count(*)::text from t where v = 'n2 again'`) == strconv.Itoa(rows)
	})
	l.exec("n3", `update t set v = 'n3' where id like 'laggard %'`)
	l.caughtUp("n2", "n3")
	if a, b := l.stamps("n2"), l.stamps("n3"); a != b {
		t.Fatalf("the rows are to differ in nothing but the value:\nn2:\n%s\nn3:\n%s", head(a), head(b))
	}

	// Without the logs of the gap the author's row stands, unless it is known who had it.
	l.winners("n3")
	l.winners("n2", Deletion{Holder: "n2", Author: "n1"})
	report, err := l.verify(touched)
	l.must(err)
	if want := int64(3 * rows); report.Differing != want || report.Repaired != want {
		t.Errorf("%d rows differed and %d were repaired, want %d of each", report.Differing, report.Repaired, want)
	}
	l.same("t")
	l.must(l.m.Heal())
	for _, n := range []string{"n2", "n3"} {
		l.exec(n, `alter subscription sub_`+n+`_from_n1 enable`)
	}
	l.caughtUp()
	if diff := cmp.Diff(l.dump("n2", "t"), l.dump("n1", "t")); diff != "" {
		t.Errorf("n1 differs when it is back (-n2 +n1):\n%s", head(diff))
	}
}

// stamps is the table t without its large values, each row with its commit timestamp.
func (l *lab) stamps(node string) string { return l.dump(node, "t (t.id, t.v)") }

// winners expects that a comparison would let the rows of a node win that n3 has written.
func (l *lab) winners(want string, deleted ...Deletion) {
	l.Helper()
	set := RowSet{Table: topology.TableName{Schema: "public", Name: "t"}, KeyColumns: []string{"id"}, Keys: []Key{{"laggard 1"}, {"laggard 2"}}, Deleted: deleted}
	got, err := CompareRows(l.Context(), l.peers(), set, func(context.Context) error { return nil }, Policy{ReportOnly: true})
	l.must(err)
	for _, d := range got {
		if d.Winner != want || d.Author != "n3" {
			l.Errorf("%v would be %s's, written by %s, want %s's, by n3", d.Key, d.Winner, d.Author, want)
		}
	}
	if len(got) != len(set.Keys) {
		l.Errorf("%d rows differ, want %d", len(got), len(set.Keys))
	}
}
