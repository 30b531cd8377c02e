package rescue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/internal/localpg"
	"healer/topology"
)

// contenders are rows of the laggard that have a unique value which the gap gives to
// another row.
type contender struct {
	name string
	// seed is everywhere; other is on n3 alone; gap comes from n1.
	seed, other, gap string
	// remote and local are the table when F's writes stand, and when n3's do.
	remote, local string
	// met are the conflicts of the replay, keys and other keys.
	met []string
}

func contenders() []contender {
	return []contender{
		{
			"insert", ``, `insert into $t values (9, 'a', 9)`, `insert into $t values (1, 'a', 1)`,
			`1 a 1`, `9 a 9`,
			[]string{"insert_unique 1/9"},
		},
		{
			"update", `insert into $t values (5, 'seed', 5)`, `insert into $t values (9, 'a', 9)`, `update $t set code = 'a' where id = 5`,
			`5 a 5`, `5 seed 5, 9 a 9`,
			[]string{"update_unique 5/9"},
		},
		{
			"two rows in the way", ``, `insert into $t values (8, 'a', 8), (9, 'b', 9)`, `insert into $t values (1, 'a', 9)`,
			`1 a 9`, `8 a 8, 9 b 9`,
			[]string{"insert_unique 1/8", "insert_unique 1/9"},
		},
		{
			"a row that moves", `insert into $t values (5, 'seed', 5)`, `insert into $t values (9, 'a', 9)`, `update $t set id = 6, code = 'a' where id = 5`,
			`6 a 5`, `5 seed 5, 9 a 9`,
			[]string{"update_unique 5/9"},
		},
		{
			"a row that moves to one that is there", `insert into $t values (5, 'seed', 5)`, `insert into $t values (6, 'a', 9)`, `update $t set id = 6 where id = 5`,
			`6 seed 5`, `5 seed 5, 6 a 9`,
			[]string{"update_unique 5/6"},
		},
		{
			"several", ``, `insert into $t values (8, 'a', 8), (9, 'b', 9)`, `insert into $t values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)`,
			`1 a 1, 2 b 2, 3 c 3`, `3 c 3, 8 a 8, 9 b 9`,
			[]string{"insert_unique 1/8", "insert_unique 2/9"},
		},
		{
			"another time", ``, `insert into $t values (9, 'a', 9)`, `insert into $t values (1, 'a', 1); update $t set code = 'z' where id = 1`,
			`1 z 1`, `1 z 1, 9 a 9`,
			[]string{"insert_unique 1/9"},
		},
	}
}

// arena is a contender in a table of its own, whose other row is older or newer than
// the gap's.
type arena struct {
	contender
	table string
	after time.Duration
}

func arenas() (all []arena, schema, seed []string) {
	for i, c := range contenders() {
		for j, after := range []time.Duration{-time.Second, time.Second} {
			a := arena{c, fmt.Sprintf("t%d_%d", i, j), after}
			all = append(all, a)
			schema = append(schema, a.sql(`create table $t (id int primary key, code text unique, n int); create unique index on $t (n) where n > 0`))
			seed = append(seed, a.sql(c.seed+`; insert into $t values (1000, 'witness', 1000)`))
		}
	}
	return all, schema, seed
}

func (a arena) sql(text string) string { return strings.ReplaceAll(text, "$t", a.table) }

// remote reports whether the gap's rows stand under a policy.
func (a arena) remoteWins(policy Resolution) bool {
	return policy == ApplyRemote || policy == LastUpdateWins && a.after < 0
}

func (l *lab) rowsOf(node, table string) string {
	l.Helper()
	return l.text(node, `select coalesce(string_agg(concat_ws(' ', id, code, n), ', ' order by id), '') from `+table+` where id < 1000`)
}

// TestClashes has rows of the laggard, of which the others know nothing, in the way
// of the gap's.
func TestClashes(t *testing.T) {
	for _, policy := range []Resolution{LastUpdateWins, ApplyRemote, KeepLocal} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			all, schema, seed := arenas()
			l := newLab(t, schema, seed...)
			l.conflicts = policy
			for _, a := range all {
				l.exec("n1", a.sql(`begin; `+a.gap+`; update $t set n = 1001 where id = 1000; commit`))
			}
			l.lose()
			at := map[string]time.Time{}
			for _, a := range all {
				var err error
				at[a.table], err = localpg.Value[time.Time](t.Context(), l.m.Node("n2"), a.sql(`select pg_xact_commit_timestamp(xmin) from $t where id = 1000`))
				l.must(err)
				l.plant("n3", "n3", at[a.table].Add(a.after), a.sql(a.other))
			}
			report, verified := l.heal()
			t.Logf("%d passes; %+v", 1+l.again, verified)
			met := map[string][]string{}
			for _, c := range report.Conflicts.Rows {
				if c.Constraint == "" {
					continue // a later change of a row that was kept off finds none
				}
				table := strings.TrimPrefix(c.Table, "public.")
				met[table] = append(met[table], fmt.Sprintf("%s %s/%s %s %s", c.Kind, c.Key["id"], c.OtherKey["id"], c.Action,
					c.Remote.At.Sub(at[table])+c.Local.At.Sub(c.Remote.At)))
			}
			for _, a := range all {
				want, action := a.local, topology.ActionKept
				if a.remoteWins(policy) {
					want, action = a.remote, topology.ActionApplied
				}
				for _, n := range []string{"n3", "n2"} {
					if a.name == "two rows in the way" && want == a.local && n == "n2" {
						continue // the mesh would have sent the second row
					}
					if got := l.rowsOf(n, a.table); got != want {
						t.Errorf("%s, %s by %s: %s has %q, want %q", a.name, a.table, a.after, n, got, want)
					}
				}
				if a.name == "two rows in the way" && want == a.local {
					continue // the mesh would have sent the second row
				}
				l.same(a.table)
				var conflicts []string
				for _, m := range a.met {
					conflicts = append(conflicts, fmt.Sprintf("%s %s %s", m, action, a.after))
					if action == topology.ActionKept {
						break // the first row in the way decides
					}
				}
				if a.name == "several" && action == topology.ActionKept {
					conflicts = []string{a.met[0] + " kept " + a.after.String(), a.met[1] + " kept " + a.after.String()}
				}
				if diff := cmp.Diff(conflicts, met[a.table]); diff != "" {
					t.Errorf("%s by %s: conflicts (-want +got):\n%s", a.name, a.after, diff)
				}
			}
			if report.Applied != int64(len(all)) || report.Transactions != int64(len(all)) {
				t.Errorf("%d of %d transactions applied, want %d", report.Applied, report.Transactions, len(all))
			}
			if _, again := l.heal(); again.Differing != 0 {
				t.Errorf("a second healing found %+v", again)
			}
		})
	}
}

// TestClashThatStopsTheMesh has such a row written by an application of the laggard.
// It is on its way to the source, whose worker stands still at it.
func TestClashThatStopsTheMesh(t *testing.T) {
	for name, remote := range map[string]bool{"the gap's rows are newer": true, "the laggard's rows are newer": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, []string{`create table t (id int primary key, code text unique, n int); create table other (id int primary key)`},
				`insert into t values (5, 'seed', 5)`)
			l.clashWait = 3 * time.Second
			for _, n := range []string{"n1", "n2"} {
				l.m.Link("n3", n).Cut()
			}
			gap := func() {
				l.exec("n1", `insert into t values (1, 'a', 1)`)
				l.exec("n1", `begin; update t set code = 'b' where id = 5; insert into t values (2, 'c', 2); commit`)
				l.caughtUp("n1", "n2")
			}
			laggard := func() { l.exec("n3", `insert into t values (8, 'a', 8), (9, 'b', 9); insert into other values (1)`) }
			for _, write := range map[bool][]func(){true: {laggard, gap}, false: {gap, laggard}}[remote] {
				write()
			}
			l.lose()
			l.must(l.m.Link("n3", "n2").Heal())
			_, verified := l.heal()
			t.Logf("%d passes; %+v", 1+l.again, verified)
			want := map[bool]string{true: `1 a 1, 2 c 2, 5 b 5`, false: `2 c 2, 5 seed 5, 8 a 8, 9 b 9`}[remote]
			for _, n := range []string{"n2", "n3"} {
				if got := l.rowsOf(n, "t"); got != want {
					t.Errorf("%s has %q, want %q", n, got, want)
				}
			}
			l.same("t", "other")
			l.caughtUp("n2", "n3")
		})
	}
}
