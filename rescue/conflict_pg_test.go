package rescue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/internal/localpg"
	"healer/topology"
)

// plant writes on a node as if another had done so at a time of the test's choice;
// the mesh does not forward it.
func (l *lab) plant(node, author string, at time.Time, sql string) {
	l.Helper()
	name := repairPrefix + author
	l.exec(node, `set session_replication_role = replica;
		select pg_replication_origin_create('`+name+`') where pg_replication_origin_oid('`+name+`') is null;
		select pg_replication_origin_session_setup('`+name+`');
		begin; select pg_replication_origin_xact_setup('0/1', '`+at.Format(time.RFC3339Nano)+`'); `+sql+`; commit;
		select pg_replication_origin_session_reset()`)
}

// committedAt is the commit timestamp that a server has of a row.
func (l *lab) committedAt(node, id string) time.Time {
	l.Helper()
	at, err := localpg.Value[time.Time](l.Context(), l.m.Node(node),
		`select pg_xact_commit_timestamp(xmin) from t where id = '`+id+`'`)
	l.must(err)
	return at.UTC()
}

// met is a write on the laggard that a change of the gap meets: by n0, which loses
// a tie against the lost n1, or by n3, which wins it.
type met struct {
	row    string
	author string
	after  time.Duration // the lost node's commit
	kind   topology.ConflictKind
	// action and value are what becomes of it, and of the row in the end, by
	// policy; no action: it is no conflict.
	action map[Resolution]string
	value  map[Resolution]string
}

// conflictCases are rows that the gap inserts ("ins ..."), updates or deletes in
// one transaction, with what n3 has by then.
func conflictCases() []met {
	const applied, kept, skipped = topology.ActionApplied, topology.ActionKept, topology.ActionSkipped
	by := func(luw, remote, local, first string) map[Resolution]string {
		return map[Resolution]string{LastUpdateWins: luw, ApplyRemote: remote, KeepLocal: local, FirstUpdateWins: first}
	}
	return []met{
		{"ins older", "n3", -time.Second, InsertExists, by(applied, applied, kept, kept), by("F", "F", "T", "T")},
		{"ins newer", "n3", time.Second, InsertExists, by(kept, applied, kept, applied), by("T", "F", "T", "F")},
		{"ins tie lost", "n0", 0, InsertExists, by(applied, applied, kept, applied), by("F", "F", "T", "F")},
		{"ins tie won", "n3", 0, InsertExists, by(kept, applied, kept, kept), by("T", "F", "T", "T")},
		{"upd older", "n3", -time.Second, UpdateNewer, by("", "", "", ""), by("F", "F", "F", "F")},
		{"upd newer", "n3", time.Second, UpdateNewer, by(kept, applied, kept, applied), by("T", "F", "T", "F")},
		{"upd tie lost", "n0", 0, UpdateNewer, by("", "", "", ""), by("F", "F", "F", "F")},
		{"upd tie won", "n3", 0, UpdateNewer, by(kept, applied, kept, applied), by("T", "F", "T", "F")},
		{"del older", "n3", -time.Second, DeleteNewer, by("", "", "", ""), by("", "", "", "")},
		{"del newer", "n3", time.Second, DeleteNewer, by(kept, applied, kept, applied), by("T", "", "T", "")},
		{"del tie lost", "n0", 0, DeleteNewer, by("", "", "", ""), by("", "", "", "")},
		{"del tie won", "n3", 0, DeleteNewer, by(kept, applied, kept, applied), by("T", "", "T", "")},
		{"upd gone", "", 0, UpdateMissing, by(skipped, skipped, skipped, skipped), by("F", "F", "F", "F")},
		{"del gone", "", 0, DeleteMissing, by(skipped, skipped, skipped, skipped), by("", "", "", "")},
	}
}

// gapOf is what F does to the cases' rows.
func gapOf(cases []met) (seed, gap string) {
	for _, c := range cases {
		if !strings.HasPrefix(c.row, "ins") {
			seed += `insert into t values ('` + c.row + `', 'seed');`
		}
		switch c.row[:3] {
		case "ins":
			gap += `insert into t values ('` + c.row + `', 'F');`
		case "upd":
			gap += `update t set v = 'F' where id = '` + c.row + `';`
		default:
			gap += `delete from t where id = '` + c.row + `';`
		}
	}
	return seed, gap
}

// plantAll puts the other write of each case on n3.
func (l *lab) plantAll(cases []met, at time.Time) {
	l.Helper()
	for _, c := range cases {
		switch {
		case strings.HasSuffix(c.row, "gone"):
			l.plant("n3", "n3", at, `delete from t where id = '`+c.row+`'`)
		case strings.HasPrefix(c.row, "ins"):
			l.plant("n3", c.author, at.Add(c.after), `insert into t values ('`+c.row+`', 'T')`)
		default:
			l.plant("n3", c.author, at.Add(c.after), `update t set v = 'T' where id = '`+c.row+`'`)
		}
	}
}

// TestConflicts has every kind of conflict under every policy that resolves it: the
// report names both writes as the servers have them, and the survivors end equal.
func TestConflicts(t *testing.T) {
	cases := conflictCases()
	seed, gap := gapOf(cases)
	for _, policy := range []Resolution{LastUpdateWins, ApplyRemote, KeepLocal, FirstUpdateWins} {
		for name, start := range map[string]func(*testing.T, string) *lab{"plain": plainLab, "partitioned": partitionedLab} {
			t.Run(string(policy)+"/"+name, func(t *testing.T) {
				l := start(t, seed)
				l.conflicts = policy
				l.exec("n1", `begin; insert into t values ('marker', 'F'); `+gap+` commit`)
				l.lose()
				at := l.committedAt("n2", "marker")
				l.plantAll(cases, at)
				report, verified := l.heal()
				l.compareConflicts(report, cases, at)
				for _, c := range cases {
					for _, n := range []string{"n2", "n3"} {
						if got := l.text(n, `select coalesce((select v from t where id = '`+c.row+`'), '')`); got != c.value[policy] {
							t.Errorf("%s: row %q is %q, want %q", n, c.row, got, c.value[policy])
						}
					}
				}
				l.same("t")
				l.repairsReported(verified, at)
			})
		}
	}
}

func plainLab(t *testing.T, seed string) *lab {
	t.Helper()
	return newLab(t, []string{`create table t (id text primary key, v text)`}, seed)
}

// partitionedLab publishes the partitioned table as one, and not its partitions.
func partitionedLab(t *testing.T, seed string) *lab {
	t.Helper()
	l := newLab(t, []string{
		`create table t (id text primary key, v text) partition by hash (id)`,
		`create table t0 partition of t for values with (modulus 2, remainder 0)`,
		`create table t1 partition of t for values with (modulus 2, remainder 1)`,
	})
	for _, n := range l.m.Names() {
		l.exec(n, `alter publication `+localpg.Publication+` set (publish_via_partition_root = true)`)
	}
	for _, n := range l.survivors() {
		for _, p := range l.m.Names() {
			if n != p && (n != "n3" || p != "n1") { // that stream is cut
				l.exec(n, `alter subscription `+localpg.SubscriptionName(n, p)+` refresh publication with (copy_data = false)`)
			}
		}
	}
	l.tables = []topology.TableName{{Schema: "public", Name: "t"}}
	for _, n := range l.m.Names() {
		l.plant(n, "n1", time.Now().Add(-time.Hour), seed)
	}
	return l
}

// compareConflicts wants just the conflicts of the cases in the report.
func (l *lab) compareConflicts(report Report, cases []met, at time.Time) {
	l.Helper()
	var want []topology.RowConflict
	counts := map[topology.ConflictKind]int64{}
	for _, c := range cases {
		action := c.action[l.conflicts]
		if action == "" {
			continue
		}
		w := topology.RowConflict{
			Kind: c.kind, Table: "public.t", Key: map[string]string{"id": c.row}, Node: "n3",
			Remote: topology.RowWrite{Node: "n1", At: at}, LSN: report.To, Action: action,
		}
		if c.author != "" {
			w.Local = &topology.RowWrite{Node: c.author, At: at.Add(c.after)}
		}
		want = append(want, w)
		counts[c.kind]++
	}
	got := slices.Clone(report.Conflicts.Rows)
	for i := range got {
		if got[i].LSN <= report.From || got[i].LSN > report.To {
			l.Errorf("%v has the transaction %s, not one of (%s, %s]", got[i].Key, got[i].LSN, report.From, report.To)
		}
		got[i].LSN = report.To
	}
	order := func(a, b topology.RowConflict) int { return strings.Compare(a.Key["id"], b.Key["id"]) }
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if diff := cmp.Diff(want, got); diff != "" {
		l.Errorf("conflicts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(counts, report.Tables[0].Conflicts); diff != "" {
		l.Errorf("counts (-want +got):\n%s", diff)
	}
	if got := report.Conflicts.Total(); got != int64(len(want)) {
		l.Errorf("%d conflicts in all, want %d", got, len(want))
	}
}

// repairsReported wants an entry for each repair, with the winner's write as the
// repaired server has it now.
func (l *lab) repairsReported(report VerifyReport, at time.Time) {
	l.Helper()
	if got := report.Conflicts.Total(); got != report.Repaired || got == 0 {
		l.Errorf("%d repairs are reported, %d were made", got, report.Repaired)
	}
	for _, c := range report.Conflicts.Rows {
		if c.Action == topology.ActionDeleted {
			continue
		}
		if got := l.committedAt(c.Node, c.Key["id"]); !got.Equal(c.Remote.At) {
			l.Errorf("%s: row %v was committed at %s, reported as %s", c.Node, c.Key, got, c.Remote.At)
		}
		if c.Local != nil && !c.Local.At.Equal(at) {
			l.Errorf("%s: row %v was replaced from %+v, the gap wrote it at %s", c.Node, c.Key, c.Local, at)
		}
	}
}

// TestConflictStops has a gap of one conflict in each transaction: the replay stops
// before each, with both writes named, until it is settled by hand.
func TestConflictStops(t *testing.T) {
	cases := slices.DeleteFunc(conflictCases(), func(c met) bool { return c.row == "del gone" })
	seed, _ := gapOf(cases)
	l := newLab(t, []string{`create table t (id text primary key, v text)`}, seed)
	l.conflicts = Stop
	for i, c := range cases {
		_, one := gapOf([]met{c})
		l.exec("n1", fmt.Sprintf(`begin; insert into t values ('marker %d', 'F'); %s commit`, i, one))
	}
	l.lose()
	var at []time.Time
	for i, c := range cases {
		at = append(at, l.committedAt("n2", fmt.Sprint("marker ", i)))
		l.plantAll([]met{c}, at[i])
	}
	for i, c := range cases {
		if c.action[LastUpdateWins] == "" {
			continue // no conflict
		}
		before := l.progress("n3")
		report, _, err := l.replay()
		var f *topology.Fault
		if !errors.As(err, &f) || f.Code != "conflict_stopped" || f.Class != topology.Permanent || f.Hint == "" ||
			!strings.Contains(err.Error(), string(c.kind)+": row (id="+c.row+"), written by n1 at "+timestamp(at[i].UnixMicro()-pgEpoch().UnixMicro())) ||
			(c.author != "" && !strings.Contains(err.Error(), "was written by "+c.author+" at ")) {
			t.Fatalf("%s: error is %v", c.row, err)
		}
		if n := len(report.Conflicts.Rows); n != 1 || report.Conflicts.Rows[0].Action != topology.ActionStopped ||
			report.Conflicts.Rows[0].Key["id"] != c.row {
			t.Errorf("%s: conflicts are %+v", c.row, report.Conflicts)
		}
		if got := l.text("n3", fmt.Sprintf(`select count(*)::text from t where id = 'marker %d'`, i)); got != "0" {
			t.Errorf("%s: the transaction that stopped is there", c.row)
		}
		if got := l.progress("n3"); i > 0 && got < before {
			t.Errorf("%s: progress went from %s back to %s", c.row, before, got)
		}
		// Settled by hand: as if the other write had not been.
		l.plant("n3", "n1", at[i].Add(-time.Hour), `delete from t where id = '`+c.row+`'`)
		if !strings.HasPrefix(c.row, "ins") {
			l.plant("n3", "n1", at[i].Add(-time.Hour), `insert into t values ('`+c.row+`', 'seed')`)
		}
	}
	// A write that the source made of the gap's row, and the laggard skipped.
	l.exec("n2", `update t set v = 'later' where id = 'marker 0'`)
	report, touched, err := l.replay()
	l.must(err)
	if report.Conflicts.Total() != 0 {
		t.Errorf("conflicts are left: %+v", report.Conflicts)
	}
	l.exec("n3", hidden+`update t set v = 'other' where id = 'marker 1'`)
	verified, err := l.verify(touched)
	var f *topology.Fault
	if !errors.As(err, &f) || f.Code != "conflict_stopped" || !strings.Contains(err.Error(), "public.t(id=marker 1)") {
		t.Errorf("verification: %v", err)
	}
	if verified.Repaired != 0 || verified.Conflicts.Total() != verified.Differing {
		t.Errorf("verification: %+v", verified)
	}
	if got := l.text("n2", `select v from t where id = 'marker 1'`); got != "F" {
		t.Errorf("the row was repaired to %q", got)
	}
}

// TestConstraintNamesBothRows has rows of the gap, and repairs, which a constraint of
// the laggard refuses: nothing is skipped, nothing of the transaction is committed,
// and the rows are named with their authors.
func TestConstraintNamesBothRows(t *testing.T) {
	for name, c := range map[string]struct {
		constraint, other string
		gap               string
		refused           string
		otherKey          map[string]string
	}{
		"unique":                {`create unique index t_x on t (code)`, `insert into t values (9, 'it''s, (a)', 1)`, `insert into t values (1, 'it''s, (a)', 2)`, "t_x", map[string]string{"id": "9"}},
		"unique of two columns": {`create unique index t_x on t (code, n)`, `insert into t values (9, 'a, b', 1)`, `insert into t values (1, 'a, b', 1)`, "t_x", map[string]string{"id": "9"}},
		"unique expression":     {`create unique index t_x on t (lower(code)) where n > 0`, `insert into t values (9, 'A', 1)`, `insert into t values (1, 'a', 2)`, "t_x", map[string]string{"id": "9"}},
		"unique by an update":   {`create unique index t_x on t (code)`, `insert into t values (9, 'a', 1)`, `update t set code = 'a' where id = 5`, "t_x", map[string]string{"id": "9"}},
		"check":                 {`alter table t add constraint t_x check (n < 100)`, `select 1`, `insert into t values (1, 'a', 100)`, "t_x", nil},
		"exclusion":             {`alter table t add constraint t_x exclude using btree (n with =)`, `insert into t values (9, 'b', 7)`, `insert into t values (1, 'a', 7)`, "t_x", map[string]string{"id": "9"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, []string{`create table t (id int primary key, code text, n int)`}, `insert into t values (5, 'seed', 0)`)
			if name != "exclusion" { // under which every policy stops
				l.conflicts = Stop
			}
			l.exec("n3", c.constraint)
			l.exec("n1", `insert into t values (100, 'before', 50)`)
			l.exec("n1", `begin; insert into t values (101, 'with', 51); `+c.gap+`; commit`)
			l.lose()
			at := l.committedAt("n2", "101")
			l.plant("n3", "n3", at.Add(-time.Minute), c.other)
			report, _, err := l.replay()
			var f *topology.Fault
			if !errors.As(err, &f) || f.Code != "constraint_violated" || f.Class != topology.Permanent || !strings.Contains(err.Error(), c.refused) {
				t.Fatalf("error is %v", err)
			}
			id := map[bool]string{true: "5", false: "1"}[strings.HasPrefix(c.gap, "update")]
			want := []topology.RowConflict{{
				Kind: ConstraintViolated, Table: "public.t", Key: map[string]string{"id": id}, OtherKey: c.otherKey, Node: "n3",
				Remote: topology.RowWrite{Node: "n1", At: at}, LSN: l.progress("n2"), Constraint: c.refused, Action: topology.ActionStopped,
			}}
			if c.otherKey != nil {
				want[0].Local = &topology.RowWrite{Node: "n3", At: at.Add(-time.Minute)}
				if !strings.Contains(err.Error(), "In the way is row (id=9), written by n3 at ") {
					t.Errorf("the other row is not named: %v", err)
				}
			}
			if !strings.Contains(err.Error(), "refuses row (id="+id+"), written by n1 at ") {
				t.Errorf("the row is not named: %v", err)
			}
			if diff := cmp.Diff(want, report.Conflicts.Rows); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
			if got := l.text("n3", `select string_agg(id::text, ' ' order by id) from t where id between 100 and 101`); got != "100" {
				t.Errorf("committed on the laggard: %s, want what came before the transaction", got)
			}
			// Settled by hand, it goes on.
			l.exec("n3", `alter table t drop constraint if exists t_x; drop index if exists t_x`)
			l.plant("n3", "n3", at, `delete from t where id = 9`)
			if after, _ := l.heal(); after.Applied != 1 {
				t.Errorf("applied %d transactions after that", after.Applied)
			}
			l.same("t")
		})
	}
}

// TestUncheckedConstraints has rows that no node could have got from an application:
// replication checks neither foreign keys nor deferrable constraints, so it is the
// comparison that shows that all have the same.
func TestUncheckedConstraints(t *testing.T) {
	l := newLab(t, []string{
		`create table parent (id int primary key); create table child (id int primary key, p int not null references parent)`,
		`create table late (id int primary key, code text unique deferrable initially deferred)`,
	}, `insert into parent values (1), (2); insert into child values (2, 2)`)
	l.exec("n1", `insert into child values (1, 1)`)
	l.exec("n1", `begin; delete from child where id = 2; delete from parent where id = 2; insert into late values (1, 'a'); commit`)
	l.caughtUp("n1", "n2")
	l.exec("n3", `delete from parent where id = 1; insert into child values (3, 2); insert into late values (9, 'a')`)
	l.lose()
	report, verified := l.heal()
	t.Logf("%+v\n%+v", report, verified)
	l.same("parent", "child", "late")
	for _, n := range l.survivors() {
		if got := l.text(n, `select (select count(*) from parent) || ' ' || (select string_agg(child::text, ' ' order by id) from child) ||
			' ' || (select string_agg(late::text, ' ' order by id) from late)`); got != "0 (1,1) (3,2) (1,a) (9,a)" {
			t.Errorf("%s has %s", n, got)
		}
	}
	if report.Conflicts.Total() != 0 || verified.Differing != 0 {
		t.Errorf("conflicts %+v, differing %d", report.Conflicts, verified.Differing)
	}
}

// TestRepairThatAConstraintRefuses: the source has changed the gap's row since, to a
// value that another row of the laggard has.
func TestRepairThatAConstraintRefuses(t *testing.T) {
	l := newLab(t, []string{`create table t (id int primary key, code text)`})
	l.exec("n3", `alter table t add constraint t_code exclude using btree (code with =)`)
	l.exec("n1", `insert into t values (1, 'gap')`)
	l.caughtUp("n1", "n2")
	l.exec("n2", `update t set code = 'taken' where id = 1`)
	l.caughtUp("n2", "n3")
	l.lose()
	l.plant("n3", "n3", time.Now().Add(-time.Minute), `insert into t values (2, 'taken')`)
	_, touched, err := l.replay()
	l.must(err)
	report, err := l.verify(touched)
	wantDiverged(t, err, "public.t(id=1)")
	if !strings.Contains(err.Error(), "In the way is row (id=2), written by n3 at ") {
		t.Errorf("the other row is not named: %v", err)
	}
	if n := len(report.Conflicts.Rows); n != 1 {
		t.Fatalf("conflicts: %+v", report.Conflicts)
	}
	c := report.Conflicts.Rows[0]
	if c.Constraint != "t_code" || c.OtherKey["id"] != "2" || c.Key["id"] != "1" || c.Node != "n3" ||
		c.Remote.Node != "n2" || c.Local.Node != "n3" || c.Action != topology.ActionStopped {
		t.Errorf("conflict: %+v", c)
	}
}

// TestManyConflicts has a gap of many transactions, every second of which meets a
// later row: all are counted once, in their order the first thousand are listed, and
// what was applied at once lists no other than what goes row by row.
func TestManyConflicts(t *testing.T) {
	const n = 3000
	for _, policy := range []Resolution{LastUpdateWins, ApplyRemote, KeepLocal} {
		t.Run(string(policy), func(t *testing.T) {
			l := newLab(t, []string{`create table t (id int primary key, v text)`},
				fmt.Sprintf(`insert into t select i, 'seed' from generate_series(1, %d) i`, n))
			l.conflicts = policy
			l.exec("n1", fmt.Sprintf(`do $$ begin for i in 1..%d loop update t set v = 'F' where id = i; commit; end loop; end $$`, n))
			l.lose()
			later := l.committedAt("n2", fmt.Sprint(n)).Add(time.Minute)
			l.plant("n3", "n3", later, `update t set v = 'T' where id % 2 = 0`)
			report, touched, err := l.replay()
			l.must(err)
			action := map[Resolution]string{LastUpdateWins: topology.ActionKept, ApplyRemote: topology.ActionApplied, KeepLocal: topology.ActionKept}[policy]
			want := []topology.ConflictCount{{Table: "public.t", Kind: UpdateNewer, Action: action, Count: n / 2}}
			if diff := cmp.Diff(want, report.Conflicts.Counts); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if report.Applied != n || report.Rows != n {
				t.Errorf("applied %d transactions with %d rows, want %d", report.Applied, report.Rows, n)
			}
			if got := len(report.Conflicts.Rows); got != topology.ListedConflicts {
				t.Fatalf("%d conflicts are listed", got)
			}
			for i, c := range report.Conflicts.Rows {
				id := fmt.Sprint(2 * (i + 1))
				if c.Key["id"] != id || !c.Local.At.Equal(later) || c.Local.Node != "n3" || c.Remote.Node != "n1" {
					t.Fatalf("conflict %d is %+v, want that of row %s", i, c, id)
				}
				if i%100 == 0 && !c.Remote.At.Equal(l.committedAt("n2", id)) {
					t.Errorf("row %s: n1's write is reported as of %s", id, c.Remote.At)
				}
			}
			verified, err := l.verify(touched)
			l.must(err)
			wantDiffering := int64(n / 2)
			if policy == ApplyRemote {
				wantDiffering = 0
			}
			if verified.Differing != wantDiffering || verified.Conflicts.Total() != wantDiffering {
				t.Errorf("verification: %+v", verified.Tables)
			}
			l.same("t")
		})
	}
}

// TestFailoverWritesAreKept: under no policy is a write undone that an application
// made on a survivor on top of what the gap had written there.
func TestFailoverWritesAreKept(t *testing.T) {
	for _, policy := range []Resolution{LastUpdateWins, ApplyRemote, KeepLocal} {
		t.Run(string(policy), func(t *testing.T) {
			l := newLabOf(t, 4, []string{`create table t (id text primary key, v text)`}, `insert into t values ('old', 'seed'), ('gone', 'seed')`)
			l.conflicts = policy
			l.exec("n1", `insert into t values ('new', 'F'), ('deleted', 'F')`)
			l.exec("n1", `update t set v = 'F' where id in ('old', 'gone')`)
			l.lose()
			// n3 and n4 lack the rows, and skip what n2 does to them.
			l.exec("n2", `update t set v = 'after' where id = 'new'`)
			l.exec("n2", `delete from t where id = 'deleted'`)
			// They have these, and take n2's writes before F's older ones.
			l.exec("n2", `update t set v = 'after' where id = 'old'`)
			l.exec("n2", `delete from t where id = 'gone'`)
			l.caughtUp("n2", "n3", "n4")
			var all []*Touched
			for _, n := range []string{"n3", "n4"} {
				_, touched, err := l.replayTo(n)
				l.must(err)
				all = append(all, touched)
			}
			_, err := l.verify(all...)
			l.must(err)
			for _, n := range l.survivors() {
				if got := l.text(n, `select string_agg(id || '=' || v, ' ' order by id) from t`); got != "new=after old=after" {
					t.Errorf("%s has %q", n, got)
				}
			}
		})
	}
}
