package rescue

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

// TestCompareRows has one row of each kind of difference on two live nodes: what
// is reported without repairs is what a repair then does.
func TestCompareRows(t *testing.T) {
	l := &lab{T: t, m: pgtest.Mesh(t, localpg.Options{Nodes: 2, Schema: []string{
		`create table t (id int primary key, v text, extra text)`,
	}})}
	l.exec("n1", `insert into t select i, 'seed' from generate_series(1, 6) i`)
	l.caughtUp()
	// What the mesh does not send on has an origin that is no node's.
	l.exec("n1", hidden+`delete from t where id = 1; update t set extra = 'n1' where id = 3`)
	l.exec("n2", hidden+`update t set v = 'n2' where id = 2; insert into t values (7, 'n2 alone')`)
	var peers []Peer
	for _, n := range []string{"n2", "n1"} {
		peers = append(peers, Peer{Node: n, Conn: l.connect(n, ""), Authors: l.authors(n)})
	}
	barrier := func(ctx context.Context) error { return l.m.WaitCaughtUp(ctx) }
	set := RowSet{
		Table: topology.TableName{Schema: "public", Name: "t"}, KeyColumns: []string{"id"},
		Keys: []Key{{"1"}, {"2"}, {"3"}, {"4"}, {"7"}, {"8"}}, Columns: []string{"id", "v"},
	}
	brief := func(all []Divergence) []string {
		var out []string
		for _, d := range all {
			line := d.Key[0] + " " + string(d.State) + " winner=" + d.Winner + " by " + d.Author
			for _, n := range d.Losers {
				line += " loser=" + n
			}
			for _, v := range d.Versions {
				if !v.Present {
					line += " missing=" + v.Node
				}
			}
			out = append(out, line)
		}
		return out
	}
	want := []string{
		"1 differs winner=n2 by n1 loser=n1 missing=n1",
		"2 differs winner=n2 by  loser=n1",
		"7 differs winner=n2 by  loser=n1 missing=n1",
	}
	for range 2 { // a report changes nothing
		got, err := CompareRows(t.Context(), peers, set, barrier, Policy{ReportOnly: true})
		l.must(err)
		if diff := cmp.Diff(want, brief(got)); diff != "" {
			t.Fatalf("reported (-want +got):\n%s", diff)
		}
	}
	set.Columns = nil
	got, err := CompareRows(t.Context(), peers, set, barrier, Policy{})
	l.must(err)
	if diff := cmp.Diff([]string{
		"1 repaired winner=n2 by n1 loser=n1 missing=n1",
		"2 repaired winner=n2 by  loser=n1",
		"3 repaired winner=n1 by  loser=n2",
		"7 repaired winner=n2 by  loser=n1 missing=n1",
	}, brief(got)); diff != "" {
		t.Fatalf("repaired (-want +got):\n%s", diff)
	}
	if a, b := l.dump("n1", "t"), l.dump("n2", "t"); a != b {
		t.Errorf("still different:\n%s\n\n%s", a, b)
	}
	if got, err = CompareRows(t.Context(), peers, set, barrier, Policy{}); err != nil || len(got) != 0 {
		t.Errorf("after the repair: %v, %v", got, err)
	}
}
