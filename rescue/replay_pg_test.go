package rescue

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

type pgxRow = pgx.CollectableRow

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mixedSchema has what a change can meet: composite keys, another column order,
// quoted names, generated and identity columns, TOAST, a key of a user's type.
func mixedSchema() []string {
	return []string{
		`create table acc (id bigint primary key, v text, n numeric)`,
		`create table pair (b text, a int, note text, primary key (a, b))`,
		`create schema "My Schema"`,
		`create table "My Schema"."Od""d" ("Id" int primary key, "select" text, "a b" timestamptz)`,
		`create table gen (id int generated always as identity primary key, v int, twice int generated always as (v * 2) stored)`,
		`create table serial2 (id int primary key, no int generated always as identity, v text)`,
		`create table big (id int primary key, small int, doc text)`,
		`alter table big alter doc set storage external`,
		`create type color as enum ('red', 'green')`,
		`create table enumkey (c color, t text[], primary key (c, t))`,
		`create table onlykey (a int, b int, primary key (a, b))`,
		`create table parted (id int primary key, v text) partition by range (id)`,
		`create table parted_1 partition of parted for values from (0) to (100)`,
		`create table parted_2 partition of parted for values from (100) to (200)`,
		`create table fullid (id int primary key, v text)`,
		`alter table fullid replica identity full`,
		`create table byindex (id int primary key, code text not null unique, v text)`,
		`alter table byindex replica identity using index byindex_code_key`,
		`create table types (id int primary key, f float8, b bytea, j jsonb, ts timestamptz, i interval, x inet, ok bool, c char(5), m money)`,
	}
}

func mixedGap() []string {
	return []string{
		`insert into acc values (1, 'one', 1.50), (2, null, null)`,
		`begin; insert into acc values (3, '', 0); update acc set v = 'three' where id = 3; delete from acc where id = 2; commit`,
		`update acc set id = 30 where id = 3`,
		`update acc set v = null where id = 100`,
		`delete from acc where id = 101`,
		`insert into pair values ('x', 1, 'n'), ('y', 1, 'm'), ('"{,}\', 2, 'odd')`,
		`update pair set note = 'k' where a = 1 and b = 'y'`,
		`update pair set b = 'z', note = e'tab\there' where a = 1 and b = 'x'`,
		`delete from pair where a = 2`,
		`insert into "My Schema"."Od""d" values (1, 'it''s', '2024-02-29 12:00:00.123456+02')`,
		`update "My Schema"."Od""d" set "a b" = 'infinity'`,
		`insert into gen (v) values (1), (2), (3)`,
		`update gen set v = 20 where id = 2`,
		`delete from gen where id = 1`,
		`insert into serial2 (id, v) values (1, 'a'), (2, 'b')`,
		`update serial2 set v = 'c' where id = 2`,
		`insert into big values (1, 1, repeat('abc', 5000))`,
		`update big set small = small + 1`,
		`update big set doc = doc || 'tail' where id = 1`,
		`update big set id = id + 50 where id = 100`,
		`insert into enumkey values ('red', '{a,"b c"}'), ('green', '{}')`,
		`delete from enumkey where c = 'red'`,
		`insert into onlykey values (1, 1), (1, 2)`,
		`update onlykey set b = 3 where b = 2`,
		`insert into parted values (1, 'p'), (150, 'q')`,
		`update parted set id = 160 where id = 1`,
		`update parted set v = 'r' where id = 150`,
		`insert into fullid values (1, 'a'), (2, 'b')`,
		`update fullid set v = 'c' where id = 1`,
		`update fullid set id = 9 where id = 2`,
		`delete from fullid where id = 100`,
		`insert into byindex values (1, 'k1', 'a'), (2, 'k2', 'b')`,
		`update byindex set id = 7, v = 'moved' where code = 'k1'`,
		`update byindex set code = 'k22' where code = 'k2'`,
		`delete from byindex where code = 'old'`,
		`insert into types values (1, 0.1, '\xdeadbeef', '{"a": [1, null]}', '1999-12-31 23:59:59.999999+00', '1 year 2 mons -3 days', '10.0.0.1', true, 'ab', '12.34')`,
		`insert into types values (2, 'NaN', '', 'null', '-infinity', null, '::1/64', false, '', null)`,
		`do $$ begin for i in 1000..1600 loop insert into acc values (i, 'bulk ' || i, i); end loop; end $$`,
	}
}

func mixedSeed() []string {
	return []string{
		`insert into acc values (100, 'seed', 1), (101, 'seed', 1)`,
		`insert into big values (100, 1, repeat('xyz', 5000)), (101, 1, repeat('uvw', 5000))`,
		`insert into fullid values (100, 'seed')`,
		`insert into byindex values (100, 'old', 'seed')`,
	}
}

func mixedTables() []string {
	return []string{
		"acc", "pair", `"My Schema"."Od""d"`, "gen", "serial2", "big", "enumkey", "onlykey",
		"parted", "fullid", "byindex", "types",
	}
}

func TestReplayCarriesTheGapOver(t *testing.T) {
	l := newLab(t, mixedSchema(), mixedSeed()...)
	for _, sql := range mixedGap() {
		l.exec("n1", sql)
	}
	l.lose()
	if l.progress("n3") == l.progress("n2") {
		t.Fatal("there is no gap to test")
	}
	report, touched, err := l.replay()
	l.must(err)
	l.same(mixedTables()...)
	if got, want := l.progress("n3"), l.progress("n2"); got != want || report.To != want {
		t.Errorf("progress is %s, reported %s, want %s", got, report.To, want)
	}
	for _, tab := range report.Tables {
		if len(tab.Conflicts) > 0 {
			t.Errorf("table %s: conflicts %v without a conflicting write", tab.Table, tab.Conflicts)
		}
	}
	if report.Applied == 0 || report.Applied != report.Transactions {
		t.Errorf("applied %d of %d transactions", report.Applied, report.Transactions)
	}
	// Each change is a message of at least its kind, its table and a row.
	if least := 10 * report.Rows; report.Bytes < least {
		t.Errorf("%d rows have %d bytes", report.Rows, report.Bytes)
	}
	t.Logf("%+v, %d keys touched", report, touched.Len())

	// A second replay of the same gap touches the same keys and changes nothing.
	again, touchedAgain, err := l.replay()
	l.must(err)
	if again.Applied != 0 || again.Rows != 0 || again.Bytes != 0 || again.Transactions != report.Transactions {
		t.Errorf("the second replay did something: %+v", again)
	}
	if diff := cmp.Diff(keysOf(touched), keysOf(touchedAgain)); diff != "" {
		t.Errorf("the second replay touched other keys (-first +second):\n%s", diff)
	}
	l.same(mixedTables()...)
}

// keysOf lists everything touched in a form that can be compared.
func keysOf(t *Touched) map[string]map[string]string {
	out := map[string]map[string]string{}
	for name, tab := range t.tables {
		m := map[string]string{}
		for id, e := range tab.keys {
			m[fmt.Sprint(decodeKey(id))] = fmt.Sprintf("%v %v %v", e.inserted, e.holders, e.tomb)
		}
		out[name.String()] = m
	}
	return out
}
