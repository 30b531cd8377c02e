package rescue

import (
	"fmt"
	"strings"
	"testing"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// everySchema has one table for everything that a table can be. Types are made in
// another order on every node, so that their OIDs differ.
func everySchema(major int) []string {
	schema := []string{
		`create schema ext; create schema "Außen"`,
		`do $$ declare
			node text := substring(current_setting('data_directory') from '/(n[0-9])(/|$)');
			made text[] := array[
				'create extension hstore schema ext', 'create extension citext schema ext',
				'create type "Außen"."Farbe" as enum (''rot'', ''grün'', ''it''''s'')',
				'create domain "Außen".pos as numeric check (value > 0)',
				'create type "Außen".paar as (a int, "B c" text)',
				'create type "Außen".spanne as range (subtype = float8)'];
			begin
			if node is null then raise 'unknown node %', current_setting('data_directory'); end if;
			for i in 1 .. 10 * substring(node from 2)::int loop
				execute format('create type pad_%s as enum ()', i); execute format('drop type pad_%s', i);
			end loop;
			for i in 1 .. array_length(made, 1) loop
				execute made[case node when 'n2' then array_length(made, 1) + 1 - i else i end];
			end loop; end $$`,
		`create table many (a int, b text, c date, v text, primary key (c, a, b))`,
		`create table "Außen"."Tab.elle ""q""" ("Schlüssel" text primary key, "select" int, "a b" text, "Ü" "Außen"."Farbe")`,
		`create table ident_ix (id int primary key, k1 text not null, k2 int not null, v text)`,
		`create unique index ident_ix_k on ident_ix (k2, k1); alter table ident_ix replica identity using index ident_ix_k`,
		`create table ident_full (id int primary key, v text, doc text); alter table ident_full replica identity full`,
		`alter table ident_full alter doc set storage external`,
		`create table full_nokey (a int, b text, doc text, j jsonb); alter table full_nokey replica identity full`,
		`alter table full_nokey alter doc set storage external`,
		`create table full_parted (a int, b text) partition by list (a)`,
		`create table full_parted_1 partition of full_parted for values in (1); alter table full_parted_1 replica identity full`,
		`create table full_parted_2 partition of full_parted for values in (2); alter table full_parted_2 replica identity full`,
		`create table ident_none (id int primary key, v text); alter table ident_none replica identity nothing`,
		`create table log (at timestamptz, what text, n numeric)`,
		`create table generated_stored (id int primary key, v int, twice int generated always as (v * 2) stored, w text)`,
		`create table identity_always (id int generated always as identity primary key, no int generated always as identity (start 100), v text)`,
		`create table serials (id serial primary key, n bigserial, v text)`,
		`create table parted (id int, region text, v text, primary key (id, region)) partition by list (region)`,
		`create table parted_eu partition of parted for values in ('eu')`,
		`create table "parted US" partition of parted for values in ('us')`,
		`create table extension_types (id ext.citext primary key, h ext.hstore, c ext.citext)`,
		`create table user_keys (f "Außen"."Farbe", p "Außen".pos, a "Außen"."Farbe"[], c "Außen".paar, v text, primary key (f, p, a, c))`,
		`create table types (id int primary key, n numeric, n2 numeric(12, 3), f4 float4, f8 float8, d date, t time, tz timetz, ts timestamp, tstz timestamptz,
			iv interval, b bytea, j json, jb jsonb, u uuid, ip inet, ci cidr, mac macaddr, bt bit(5), vb varbit, c char(7), "c""1" "char", nm name,
			ar int[], ar2 text[][], ir int4range, mr nummultirange, r "Außen".spanne, e "Außen"."Farbe", dm "Außen".pos, co "Außen".paar, coa "Außen".paar[],
			pt point, bx box, tv tsvector, tq tsquery, o oid, lsn pg_lsn, bo bool, m money, vc varchar(20), xm xid8)`,
		`create table nulls (id int primary key, a text, b int, c text default 'not this', d text not null default '')`,
		`create table wide (id int primary key, ` + wideColumns("c%d text") + `)`,
		`create table parent (id int primary key, v text); create table child (id int primary key, p int not null references parent on delete cascade)`,
		`create table secured (id int primary key, v text)`,
		`create table fired (id int primary key, v text)`,
		`create unlogged table unlogged (id int primary key, v text)`,
		`create table reordered (a int, b text, c numeric, primary key (a, b))`,
		`create table wiped (id serial primary key, v text); create table wiped_child (id int primary key, w int references wiped)`,
		`create table wiped_log (v text)`,
		`create table base (id int primary key, v text); create table inherited (primary key (id)) inherits (base)`,
	}
	if major >= 18 {
		schema = append(schema, `create table generated_virtual (id int primary key, v int, twice int generated always as (v * 2) virtual, w text)`)
	}
	return schema
}

func wideColumns(format string) string {
	cols := make([]string, 100)
	for i := range cols {
		cols[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(cols, ", ")
}

// everySeed is there on every node before the gap.
func everySeed() []string {
	return []string{
		`insert into ident_full values (50, 'seed', repeat('s', 9000)), (51, 'seed', repeat('t', 9000))`,
		`insert into full_nokey values (50, 'seed', repeat('s', 9000), '{"a": 1}'), (51, null, repeat('t', 9000), null), (52, 'twice', '', 'null'), (52, 'twice', '', 'null')`,
		`insert into ident_none values (50, 'seed')`,
		`insert into log values ('2000-01-01', 'seed', 1)`,
		`insert into wiped (v) select 'seed' from generate_series(1, 20); insert into wiped_child values (1, 1)`,
		`insert into wiped_log values ('seed'), ('seed')`,
		`insert into base values (1, 'base'), (2, 'base'); insert into inherited values (1, 'inherited'), (3, 'inherited')`,
		`insert into full_parted values (1, 'seed'), (1, 'seed'), (2, 'seed')`,
	}
}

// everyGap is one gap over all of it.
func everyGap(major int) []string {
	gap := []string{
		`insert into many values (1, 'x', '2024-01-01', 'a'), (1, '', '2024-01-01', null), (2, 'y', 'infinity', ''), (3, 'z', '-infinity', 'd')`,
		`begin; update many set a = a + 10 where b = 'x'; update many set v = 'later' where b = ''; delete from many where a = 3; commit`,
		`update many set c = '2025-05-05', b = 'Y''"\' where a = 2`,
		`insert into "Außen"."Tab.elle ""q""" values ('Größe "1"', 1, e'\\x\n', 'grün'), ('', 2, null, 'it''s'), ('𝄞', 3, '', null)`,
		`update "Außen"."Tab.elle ""q""" set "Schlüssel" = 'neu', "Ü" = 'rot' where "select" = 3`,
		`delete from "Außen"."Tab.elle ""q""" where "Schlüssel" = ''`,
		`insert into ident_ix values (1, 'a', 1, 'one'), (2, 'b', 2, 'two'), (3, 'c', 3, 'three')`,
		`begin; update ident_ix set id = 20, v = 'moved' where k2 = 2; update ident_ix set k1 = 'aa' where id = 1; delete from ident_ix where id = 3; commit`,
		`insert into ident_full values (1, 'a', null), (2, null, '')`,
		`begin; update ident_full set v = 'b' where id = 50; update ident_full set id = 60 where id = 51; delete from ident_full where id = 1; update ident_full set v = '' where id = 2; commit`,
		`insert into full_nokey values (1, 'one', repeat('x', 9000), '[1, 2]'), (1, 'one', repeat('x', 9000), '[1, 2]'), (null, null, null, null)`,
		`begin; update full_nokey set b = 'changed' where ctid = (select min(ctid) from full_nokey where a = 1);
			update full_nokey set a = 500 where a = 50; delete from full_nokey where a = 51;
			delete from full_nokey where ctid = (select min(ctid) from full_nokey where a = 52); update full_nokey set b = '' where a is null; commit`,
		`insert into full_parted values (1, null), (2, 'x')`,
		`begin; delete from full_parted where ctid = '(0,1)' and tableoid = 'full_parted_1'::regclass; update full_parted set b = 'y' where b = 'x'; update full_parted set a = 2 where b is null; commit`,
		`insert into ident_none values (1, 'a'), (2, 'b')`,
		`insert into log values (now(), 'a', 1), ('infinity', 'a', 'NaN'), ('infinity', 'a', 'NaN'), (null, null, null), (null, '', 1.50)`,
		`insert into generated_stored (id, v, w) values (1, 1, 'a'), (2, null, 'b')`,
		`update generated_stored set v = 5 where id = 1`,
		`insert into identity_always (v) values ('a'), ('b'), ('c')`,
		`begin; update identity_always set v = 'bb' where v = 'b'; delete from identity_always where v = 'c'; commit`,
		`insert into serials (v) values ('a'), ('b')`,
		`insert into parted values (1, 'eu', 'a'), (2, 'us', 'b'), (3, 'us', 'c')`,
		`begin; update parted set region = 'us' where id = 1; update parted set v = 'bb' where id = 2; delete from parted where id = 3; commit`,
		`insert into extension_types values ('Key', 'a=>1, "b c"=>NULL', 'MiXed'), ('other', '', '')`,
		`begin; update extension_types set h = h operator(ext.||) 'z=>"\""'::ext.hstore, c = 'mixed' where id operator(ext.=) 'KEY'; update extension_types set id = 'OTHER' where id = 'other'; commit`,
		`insert into user_keys values ('rot', 1.50, '{rot,grün}', '(1,"x y")', 'a'), ('it''s', 2, '{"it''s"}', '(,)', 'b'), ('grün', 3, '{}', '(2,)', 'c')`,
		`begin; update user_keys set v = 'aa' where f = 'rot'; update user_keys set c = '(7,"\"")', p = 2.00 where v = 'b'; delete from user_keys where v = 'c'; commit`,
		`insert into types values (1, 'NaN', 1.5, 'NaN', '-Infinity', 'infinity', '24:00', '12:00+02', '-infinity', 'infinity',
			'-1 year 3 days -00:00:00.000001', '\x00ff', '{"b":1,  "a":[null]}', '{"b": 1e400}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03',
			B'10101', B'', 'ab', 'x', 'name', '{1,NULL,3}', '{{a,"b,c"},{"\"",""}}', '[1,5)', '{[1,2),(3,)}', '(,1.5]', 'grün', 0.1, '(1,"B, \"c\"")', array['(1,x)', null]::"Außen".paar[],
			'(1.1,2)', '((0,0),(1,1))', '''a'':1A b', 'a & !b', 4294967295, '16/B374D848', true, '-12.34', e'\t', '18446744073709551615')`,
		`insert into types (id, n, n2, f4, f8, d, ts, tstz, iv, b, jb, ar, ir, mr) values (2, 'Infinity', -0.001, '-0', 5e-324, '4713-01-01 BC', '294276-12-31 23:59:59.999999', '4714-11-24 00:00:00+00 BC',
			'178000000 years', '', 'null', '[2:3]={7,8}', 'empty', '{}')`,
		`insert into types (id, n) values (3, '-Infinity'), (4, ` + strings.Repeat("9", 1000) + `.` + strings.Repeat("1", 1000) + `)`,
		`update types set f8 = 0.1 + 0.2, jb = jb || '[1]' where id = 2`,
		`insert into nulls values (1, null, null, null, ''), (2, '', 0, '', ''), (3, 'x', 1, 'x', 'x')`,
		`begin; update nulls set a = null, b = null, c = null, d = '' where id = 3; update nulls set a = '' where id = 1; commit`,
		`insert into wide select 1, ` + wideColumns("'value %d'") + `; insert into wide (id, c99) values (2, '')`,
		`update wide set c50 = null, c98 = repeat('long', 5000) where id = 1`,
		`begin; insert into parent values (1, 'p'), (2, 'q'); insert into child values (1, 1), (2, 2); delete from parent where id = 1; commit`,
		`insert into secured values (1, 'hidden'), (2, 'shown')`,
		`begin; insert into fired values (1, 'a'); update fired set v = 'b'; delete from fired; insert into fired values (2, 'c'); commit`,
		`insert into unlogged values (1, 'not replicated')`,
		`insert into reordered values (1, 'one', 1.5), (2, 'two', null)`,
		`begin; update reordered set c = 3 where a = 2; update reordered set a = 5 where a = 1; commit`,
		`begin; insert into wiped (v) values ('before'); truncate wiped cascade; insert into wiped (v) values ('after'); commit`,
		`begin; insert into wiped_log values ('before'); truncate wiped_log restart identity; insert into wiped_log values ('after'), ('after'); commit`,
		`begin; update only base set v = 'only' where id = 1; update inherited set v = 'child' where id = 3; delete from only base where id = 2; insert into inherited values (9, 'new'); commit`,
		`select pg_logical_emit_message(true, 'app', 'in a transaction'), pg_logical_emit_message(false, 'app', 'outside')`,
		`begin; savepoint a; insert into log values (now(), 'rolled back', 0); rollback to a; savepoint b; insert into log values (now(), 'kept', 0); release b; commit`,
		`begin; insert into log values ('2020-02-02', 'prepared', 7); prepare transaction 'kept'`,
		`begin; insert into log values ('2020-02-02', 'prepared and rolled back', 7); prepare transaction 'lost'`,
		`commit prepared 'kept'`,
		`rollback prepared 'lost'`,
	}
	if major >= 18 {
		gap = append(gap, `insert into generated_virtual (id, v, w) values (1, 1, 'a'), (2, null, 'b')`, `update generated_virtual set v = 5 where id = 1`)
	}
	return gap
}

// everyTables lists what is compared, with its columns where the whole row does not
// say it.
func everyTables(major int) []string {
	tables := []string{
		`many`, `"Außen"."Tab.elle ""q"""`, `ident_ix`, `ident_full`, `full_nokey`, `full_parted`, `ident_none`, `log`, `generated_stored`, `identity_always`,
		`serials`, `parted_eu`, `"parted US"`, `extension_types`, `user_keys`, `types`, `nulls`, `wide`, `parent`, `child`, `secured`, `fired`, `wiped`, `wiped_child`, `wiped_log`,
		`reordered (a, b, c)`, `only base (id, v)`, `inherited`,
	}
	if major >= 18 {
		tables = append(tables, `generated_virtual (id, v, twice, w)`)
	}
	return tables
}

// TestEveryChange carries one gap over every kind of table and change, and compares
// source and laggard row by row, down to the commit timestamps.
func TestEveryChange(t *testing.T) {
	major := pgtest.Major(t)
	l := newLabWith(t, localpg.Options{
		Nodes: 3, Links: true, Schema: everySchema(major), Conf: map[string]string{"max_prepared_transactions": "5"},
	}, nil, everySeed()...)
	for _, typ := range []string{"ext.hstore", "ext.citext", `"Außen"."Farbe"`, `"Außen".paar`} {
		if a, b := l.text("n2", `select '`+typ+`'::regtype::oid::text`), l.text("n3", `select '`+typ+`'::regtype::oid::text`); a == b {
			t.Errorf("type %s has OID %s on both: the test shows nothing of types that differ", typ, a)
		}
	}
	for _, sql := range []string{
		// What only the laggard has.
		`alter table reordered drop column c; alter table reordered add x int default 7, add g int generated always as (a * 10) stored, add column c numeric`,
		`alter table secured enable row level security; alter table secured force row level security; create policy p on secured using (v = 'shown') with check (v = 'shown')`,
		`create unlogged table heard (what text); create function hear() returns trigger language plpgsql as
			$$ begin insert into public.heard values (tg_name || ' ' || tg_op); return coalesce(new, old); end $$`,
		`create trigger plain before insert or update or delete on fired for each row execute function hear()`,
		`create trigger always before insert or update or delete on fired for each row execute function hear(); alter table fired enable always trigger always`,
		`create trigger rep after insert or update or delete on fired for each row execute function hear(); alter table fired enable replica trigger rep`,
	} {
		l.exec("n3", sql)
	}
	for _, sql := range everyGap(major) {
		l.exec("n1", sql)
	}
	l.lose()
	report, touched, err := l.replay()
	l.must(err)
	l.same(everyTables(major)...)
	t.Logf("%+v, %d keys touched", report, touched.Len())
	for _, tab := range report.Tables {
		if len(tab.Conflicts) > 0 {
			t.Errorf("table %s: conflicts %v without a conflicting write", tab.Table, tab.Conflicts)
		}
	}
	if got, want := l.text("n3", `select string_agg(what, ', ' order by what) from heard`),
		"always DELETE, always INSERT, always INSERT, always UPDATE, rep DELETE, rep INSERT, rep INSERT, rep UPDATE"; got != want {
		t.Errorf("triggers fired: %s; want %s", got, want)
	}
	if got := l.text("n3", `select string_agg(distinct x || ' ' || (g = a * 10), ',') from reordered`); got != "7 true" {
		t.Errorf("the laggard's own columns have %s", got)
	}
	if got := l.text("n3", `select count(*)::text from unlogged`); got != "0" {
		t.Errorf("%s rows of an unlogged table were carried over", got)
	}
	verified, err := l.verify(touched)
	l.must(err)
	t.Logf("%+v", verified)
	if verified.Differing != 0 || verified.Rows == 0 {
		t.Errorf("verification: %+v", verified)
	}
	again, _, err := l.replay()
	l.must(err)
	if again.Applied != 0 || again.Transactions != report.Transactions {
		t.Errorf("a second replay: %+v", again)
	}
	l.same(everyTables(major)...)
}
