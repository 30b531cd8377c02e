package compare

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// shape is a kind of table: how each node makes it, its key, and values of its
// columns as SQL of a number.
type shape struct {
	n1, n2 string
	// name is the table's as it is in the catalog; t when empty.
	name string
	// key is an SQL list, empty in a table without one.
	key    string
	insert string // of %[1]d for the key, %[2]d for the rest
	update string // of %[1]d, %[2]d
	where  string // of %[1]d
	method Method
}

func shapes() map[string]shape {
	plain := func(typ, key string) shape {
		return shape{
			n1: `create table t (id ` + typ + ` primary key, v int, w text)`, key: "id",
			insert: `insert into t (id, v, w) values (` + key + `, %[2]d, 'w')`,
			update: `update t set v = %[2]d where id = ` + key, where: `id = ` + key, method: Ranges,
		}
	}
	all := map[string]shape{
		"bigint":      plain("bigint", "%[1]d - 10"),
		"text":        plain("text", "'k ' || chr(65 + %[1]d %% 7) || '%[1]d'"),
		"varchar":     plain("varchar(40)", "'k''%[1]d'"),
		"uuid":        plain("uuid", "md5('%[1]d')::uuid"),
		"numeric":     plain("numeric", "%[1]d / 3.0"),
		"float":       plain("float8", "(%[1]d / 3.0)::float8"),
		"timestamptz": plain("timestamptz", "'2024-01-01 00:00:00+00'::timestamptz + %[1]d * interval '17 minutes'"),
		"bytea":       plain("bytea", `decode(lpad('%[1]d', 6, '0'), 'hex')`),
		"array":       plain("int[]", "array[%[1]d %% 5, %[1]d]"),
		"C":           plain(`text collate "C"`, "'K%[1]d'"),
	}
	other := all["text"]
	other.n1 = `create table t (id text collate "C" primary key, v int, w text)`
	other.n2 = `create table t (w text, v int, id text collate "en-x-icu" primary key)`
	other.method = Buckets
	all["other collation, other order of columns"] = other
	all["composite, quoted"] = shape{
		name: `T "1`, n1: `create table "T ""1" ("A b" text, "B" int, v int, g int generated always as (v * 2) stored, primary key ("A b", "B"))`,
		key:    `"A b", "B"`,
		insert: `insert into "T ""1" values (chr(97 + %[1]d %% 3) || ' x', %[1]d, %[2]d)`,
		update: `update "T ""1" set v = %[2]d where "B" = %[1]d`, where: `"B" = %[1]d`, method: Ranges,
	}
	all["partitioned"] = shape{
		n1: `create table t (id int, r int, v int, primary key (r, id)) partition by list (r);
			create table t0 partition of t for values in (0); create table t1 partition of t for values in (1, 2)`,
		key: "r, id", insert: `insert into t values (%[1]d, %[1]d %% 3, %[2]d)`,
		update: `update t set v = %[2]d where id = %[1]d`, where: `id = %[1]d`, method: Ranges,
	}
	all["enum"] = shape{
		n1: `create type mood as enum ('sad', 'ok', 'glad'); create table t (m mood, id int, v int, primary key (m, id))`, key: "m, id",
		insert: `insert into t values ((array['sad', 'ok', 'glad'])[1 + %[1]d %% 3]::mood, %[1]d, %[2]d)`,
		update: `update t set v = %[2]d where id = %[1]d`, where: `id = %[1]d`, method: Ranges,
	}
	all["no key"] = shape{
		n1: `create table t (a int, b text, c int)`, insert: `insert into t values (%[1]d %% 9, nullif('%[1]d', '4'), %[2]d %% 3)`,
		update: `update t set c = %[2]d where a = %[1]d`, where: `a = %[1]d %% 9`, method: Multiset,
	}
	all["key on one node only"] = shape{
		n1: `create table t (a int primary key, b int)`, n2: `create table t (a int, b int)`,
		insert: `insert into t values (%[1]d, %[2]d)`, update: `update t set b = %[2]d where a = %[1]d`, where: `a = %[1]d`, method: Multiset,
	}
	for name, s := range all {
		if s.n2 == "" {
			s.n2 = s.n1
		}
		if s.name == "" {
			s.name = "t"
		}
		all[name] = s
	}
	return all
}

// TestSideBySide compares random tables, doctored at random, and has the report be
// just what a plain SELECT of both sides gives.
func TestSideBySide(t *testing.T) {
	all := shapes()
	names := slices.Sorted(maps.Keys(all))
	pairs := map[string]*pair{}
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(names).Draw(rt, "shape")
		if pairs[name] == nil {
			pairs[name] = newPair(t)
			pairs[name].exec("n1", all[name].n1)
			pairs[name].exec("n2", all[name].n2)
		}
		pairs[name].check(rt, all[name])
	})
}

func (p *pair) check(rt *rapid.T, s shape) {
	from := quoteIdent(s.name)
	// Several statements in one string are one transaction.
	seed := []string{"truncate " + from}
	ids := rapid.SliceOfNDistinct(rapid.IntRange(1, 200), 0, 120, rapid.ID).Draw(rt, "rows")
	for _, id := range ids {
		seed = append(seed, fmt.Sprintf(s.insert, id, id))
	}
	p.both(strings.Join(seed, ";"))
	n := rapid.IntRange(0, 12).Draw(rt, "changes")
	for range n {
		node := rapid.SampledFrom([]string{"n1", "n2"}).Draw(rt, "node")
		id := rapid.IntRange(1, 200).Draw(rt, "id")
		switch rapid.SampledFrom([]string{"delete", "update", "insert"}).Draw(rt, "change") {
		case "delete":
			p.exec(node, "delete from "+from+" where "+fmt.Sprintf(s.where, id))
		case "update":
			p.exec(node, fmt.Sprintf(s.update, id, rapid.IntRange(0, 3).Draw(rt, "value")))
		case "insert":
			if s.key == "" || !slices.Contains(ids, id) {
				p.exec(node, "delete from "+from+" where "+fmt.Sprintf(s.where, id)+";"+fmt.Sprintf(s.insert, id, 1))
			}
		}
	}
	want, rows := p.plain(s)
	got := p.compare(Options{
		BlockRows:   rapid.SampledFrom([]int{2, 7, 32, 16384}).Draw(rt, "block"),
		Concurrency: rapid.IntRange(1, 3).Draw(rt, "concurrency"), MaxDifferences: 10_000,
	}, table(s.name))
	if diff := cmp.Diff(want, brief(got)); diff != "" {
		rt.Fatalf("differences (-plain +compare):\n%s\n%+v", diff, got.Tables)
	}
	if got.Tables[0].Method != s.method {
		rt.Fatalf("compared as %s, want %s: %v", got.Tables[0].Method, s.method, got.Tables[0].Notes)
	}
	if diff := cmp.Diff(rows, got.Tables[0].Rows); diff != "" {
		rt.Fatalf("rows (-plain +compare):\n%s", diff)
	}
	if want := map[bool]Result{true: Equal, false: Differ}[len(want) == 0]; got.Result != want || got.Partial {
		rt.Fatalf("result is %s (partial %v), want %s", got.Result, got.Partial, want)
	}
}

// plain reads both sides whole and compares them here.
func (p *pair) plain(s shape) (want []string, rows map[string]int64) {
	key := s.key
	columns := p.lines("n1", `select string_agg(quote_ident(attname), ', ' order by attname) from pg_attribute
		where attrelid = '`+strings.ReplaceAll(quoteIdent(s.name), "'", "''")+`'::regclass and attnum > 0 and attgenerated = ''`)[0][0]
	if key == "" {
		key = columns
	}
	width := 1 + strings.Count(key, ",")
	have := map[string]map[string][]string{}
	rows = map[string]int64{}
	ids := map[string]bool{}
	for _, n := range []string{"n1", "n2"} {
		have[n] = map[string][]string{}
		for _, line := range p.lines(n, `select `+key+`, row(`+columns+`)::text from `+quoteIdent(s.name)+` order by 1`) {
			id := fmt.Sprint(line[:width])
			if s.key == "" {
				id = line[len(line)-1]
			}
			have[n][id] = append(have[n][id], line[len(line)-1])
			ids[id] = true
			rows[n]++
		}
	}
	if len(rows) < 2 {
		rows["n1"] += 0
		rows["n2"] += 0
	}
	want = []string{}
	for id := range maps.Keys(ids) {
		if a, b := have["n1"][id], have["n2"][id]; !slices.Equal(a, b) {
			want = append(want, fmt.Sprintf("public.%s %s n1:%d n2:%d differs", s.name, id, len(a), len(b)))
		}
	}
	slices.Sort(want)
	return want, rows
}
