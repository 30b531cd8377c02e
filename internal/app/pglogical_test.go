package app_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"healer/internal/localpg"
)

// A mesh of pglogical heals the loss of a node as one of PostgreSQL's own does, and takes
// it back: with a table of which a part is replicated, a TRUNCATE, a sequence, and DDL, for
// which it waits until a person has done it.
func TestPglogicalHealsAndTakesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Engine: localpg.Pglogical, Schema: []string{
		"CREATE TABLE part (k bigint PRIMARY KEY, v text, inner_note text); CREATE SEQUENCE ticket",
	}}, nil)
	for _, n := range c.mesh.Names() {
		c.exec(n, `SELECT pglogical.replication_set_remove_table('default', 'part');
			SELECT pglogical.replication_set_add_table('default', 'part', columns := '{k,v}', row_filter := 'v <> ''secret''');
			SELECT pglogical.replication_set_add_sequence('default', 'ticket')`)
	}
	c.startAll()
	c.lag(40)
	c.exec("n1", "TRUNCATE entry")
	c.exec("n1", "INSERT INTO entry VALUES ('n1', 1000, '{}')")
	c.exec("n1", `INSERT INTO part VALUES (1, 'a', 'mine'), (2, 'secret', 'mine'), (3, NULL, 'mine'), (4, 'b', 'mine')`)
	c.exec("n1", `UPDATE part SET v = 'A' WHERE k = 1; UPDATE part SET v = 'secret' WHERE k = 4; DELETE FROM part WHERE k = 2`)
	c.exec("n1", `SELECT setval('ticket', 500); SELECT pglogical.synchronize_sequence('ticket')`)
	c.exec("n1", `SELECT pglogical.replicate_ddl_command('CREATE TABLE public.later (k bigint PRIMARY KEY)')`)
	c.exec("n1", "INSERT INTO entry VALUES ('n1', 1001, '{}')")
	c.caughtUp("n1", "n2")
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}

	// The DDL stops it, and the remedy is one that can be followed.
	mark := c.stopped("CREATE TABLE public.later", "n2", "n3")
	if n := value[int64](c, "n3", "SELECT count(*) FROM entry WHERE no = 1001"); n != 0 {
		t.Error("what comes behind the DDL was carried before it")
	}
	c.exec("n3", "CREATE TABLE public.later (k bigint PRIMARY KEY)")
	c.exec("n3", "SELECT pg_replication_origin_create('"+mark+"')")
	c.recovered("n2", "n1", "n2", "n3")
	c.equal("n2", "n3")
	const part = "SELECT coalesce(string_agg(p::text, ' ' ORDER BY k), '') FROM part p"
	if a, b := value[string](c, "n2", part), value[string](c, "n3", part); a != b || a != "(1,A,) (4,b,)" {
		t.Errorf("of the table n2 has %s, and n3 %s", a, b)
	}
	if last := value[int64](c, "n3", "SELECT last_value FROM ticket"); last < 500 {
		t.Errorf("the sequence is at %d", last)
	}
	// The extension's own tables are not written to.
	for n, want := range map[string]int64{"n2": 1, "n3": 0} {
		if q := value[int64](c, n, "SELECT count(*) FROM pglogical.queue WHERE message_type = 'Q'"); q != want {
			t.Errorf("the queue of %s has %d commands, want %d", n, q, want)
		}
	}

	c.exec("n2", "INSERT INTO entry VALUES ('n2', 1, '{}')")
	c.exec("n3", "INSERT INTO entry VALUES ('n3', 1, '{}')")
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")
	c.caughtUp("n1", "n2", "n3")
	c.equal("n1", "n2", "n3")
}

// stopped waits until a recovery has ended by a message of the queue, and returns the mark
// that the remedy names.
func (c *cluster) stopped(command string, agents ...string) (mark string) {
	c.t.Helper()
	c.eventually("the recovery stops at the message", func() error {
		last := c.last(agents...)
		if !strings.Contains(last.Error, command) {
			return fmt.Errorf("the last recovery is %+v", last)
		}
		mark = regexp.MustCompile(`healer:done:[^']+`).FindString(last.Hint)
		return nil
	})
	if mark == "" {
		c.t.Fatal("the remedy names no mark")
	}
	return mark
}
