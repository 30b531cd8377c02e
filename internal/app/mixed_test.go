package app_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// anything has a column for each type whose text a server makes up, rather than
// keeps; parts is written through its root, big is larger than what a walsender holds
// back before it sends a transaction that has not ended.
const anything = `CREATE TABLE anything (id text PRIMARY KEY, f4 real, f8 double precision, n numeric, m money, iv interval,
		tz timestamptz, tt timetz, d date, j json, jb jsonb, x xml, b bytea, ip inet, mac macaddr8, r tstzrange, mr nummultirange,
		tv tsvector, tq tsquery, p path, c circle, v bit varying, a text[], ch "char", u uuid, jp jsonpath, l pg_lsn, doc text,
		twice numeric GENERATED ALWAYS AS (n * 2) STORED);
	ALTER TABLE anything ALTER doc SET STORAGE EXTERNAL;
	CREATE TABLE parts (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a'); CREATE TABLE parts_b PARTITION OF parts FOR VALUES IN ('b');
	CREATE TABLE big (id text PRIMARY KEY, v text); CREATE TABLE emptied (id text PRIMARY KEY)`

// anythingGap writes them on a node. Its name is %[1]s.
const anythingGap = `INSERT INTO anything SELECT '%[1]s ' || i, (0.1 * i)::real, 1e-7 / i, 12345.6700, '1234.5'::money, '1 year -3 days 04:05:06.7 ago',
		'2026-03-29 01:59:59.999999+01', '12:00:00.5-07', '4713-01-01 BC', '{"b": 1, "a": [1.0, 1e400]}', '{"b": 1, "a": [1.0, 1e400], "ü": null}', '<a b="1">ü</a>',
		'\x00ff', '::ffff:10.0.0.1/120', '08:00:2b:01:02:03:04:05', '[2026-01-01 00:00+02,)', '{[1.0,2.50),(3,]}',
		'the:1A fat:2B', 'fat & (rat | !cat) <-> x:A*', '((0.1,1e-9),(2,3))', '<(1.5,2),0.3>', B'1010', '{NULL,"a b","",null,"\""}', 'ü'::bytea::text::"char",
		'0193b3c0-0000-7000-8000-000000000000', '$.a[*] ? (@ > 1.5 && @.type() == "number").size()', '16/B374D848', string_agg(md5(k::text), '')
		FROM generate_series(1, 3) i, generate_series(1, 200) k GROUP BY i;
	UPDATE anything SET f8 = 'NaN', n = 'Infinity', d = 'infinity', tz = '-infinity' WHERE id = '%[1]s 2';
	UPDATE anything SET id = '%[1]s 33' WHERE id = '%[1]s 3';
	INSERT INTO parts SELECT i, 'a', '%[1]s' FROM generate_series(%[2]d, %[2]d + 9) i;
	UPDATE parts SET region = 'b' WHERE id %% 2 = 0 AND region = 'a';
	INSERT INTO big SELECT '%[1]s ' || i, repeat('x', 200) FROM generate_series(1, 2000) i;
	TRUNCATE emptied; INSERT INTO emptied VALUES ('%[1]s')`

// A mesh of servers of three majors heals whichever of them is lost, and takes it back.
// From which of the others to which it goes, make test-majors has the other way round.
func TestMixedMajorsHealWhicheverIsLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{
		Majors: []int{16, 17, 18}, Schema: []string{anything},
		Conf: map[string]string{"logical_decoding_work_mem": "64kB"},
	}, nil)
	c.startAll()
	c.losesEach(pgtest.Major(t) < 18)
}

// losesEach loses each of three nodes, one way round or the other.
func (c *cluster) losesEach(other bool) {
	c.t.Helper()
	for i, way := range [][3]string{{"n1", "n2", "n3"}, {"n2", "n3", "n1"}, {"n3", "n1", "n2"}} {
		if other {
			way[1], way[2] = way[2], way[1]
		}
		c.losesAndTakesBack(i, way[0], way[1], way[2])
	}
}

// losesAndTakesBack loses a node of which the source has more than the laggard.
func (c *cluster) losesAndTakesBack(round int, lost, source, laggard string) {
	c.t.Helper()
	ctx := context.Background()
	must := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatalf("%s lost, %s behind %s: %v", lost, laggard, source, err)
		}
	}
	c.mesh.Link(lost, laggard).Cut()
	c.exec(lost, fmt.Sprintf(anythingGap, fmt.Sprint(lost, " ", round), 10*round))
	for i := range 20 {
		c.exec(lost, `INSERT INTO entry VALUES ($1, $2, '{"a": 1}')`, lost, 100*round+i)
	}
	c.caughtUp(lost, source)
	must(c.mesh.Kill(ctx, lost))
	last := c.recovered(source, lost, source, laggard)
	if last.Source != source || last.Transactions < 20 {
		c.t.Errorf("%s lost: carried %d transactions from %s: want them from %s", lost, last.Transactions, last.Source, source)
	}
	c.alike(source, laggard)
	c.exec(source, `INSERT INTO entry VALUES ($1, $2, '{}')`, source, 100*round+50)
	must(c.mesh.Heal())
	must(c.mesh.Node(lost).Start(ctx))
	c.rejoined(lost)
	c.exec(lost, `INSERT INTO entry VALUES ($1, $2, '{}')`, lost, 100*round+60)
	c.caughtUp()
	c.alike(c.mesh.Names()...)
	if code, said := c.command("verify"); code != 0 {
		c.t.Errorf("after the return of %s verify ends with %d:\n%s", lost, code, said)
	}
}

// alike wants the same rows of all tables on all nodes.
func (c *cluster) alike(nodes ...string) {
	c.t.Helper()
	c.equal(nodes...)
	for _, table := range []string{"anything", "parts", "big", "emptied"} {
		sql := `SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text COLLATE "C"), '') FROM ` + table + ` t`
		want := value[string](c, nodes[0], sql)
		for _, n := range nodes[1:] {
			if got := value[string](c, n, sql); got != want || !strings.Contains(got, "(") {
				c.t.Errorf("table %s: %s has\n%.2000s\n%s has\n%.2000s", table, n, got, nodes[0], want)
			}
		}
	}
}
