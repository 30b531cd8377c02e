package app_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"healer/internal/localpg"
	"healer/postgres/grants"
)

// A role that is no superuser, with what `healer grants` prints and nothing else,
// heals a mesh that belongs to another role which is none either: it fences, carries
// the gap across, repairs what the survivors made differ, and takes the node back. It
// also compares whole tables, and repairs them.
func TestLeastPrivilegedRoleHeals(t *testing.T) {
	t.Parallel()
	const role = `the "healer"`
	c := newCluster(t, localpg.Options{Scram: true, Schema: []string{
		`CREATE ROLE owner LOGIN; CREATE ROLE repl LOGIN REPLICATION PASSWORD 'r'; GRANT CREATE ON DATABASE app TO owner; GRANT USAGE ON SCHEMA public TO owner; GRANT USAGE ON SEQUENCE received TO owner;
		 ALTER TABLE account OWNER TO owner; ALTER TABLE entry OWNER TO owner`,
	}}, func(s *localpg.Server) string { return s.DSN() + ` user='the "healer"' password=h` })
	for _, n := range c.mesh.Names() {
		for _, p := range c.mesh.Names() {
			if p != n {
				sub := localpg.SubscriptionName(n, p)
				conn := value[string](c, n, `SELECT subconninfo FROM pg_subscription WHERE subname = $1`, sub)
				c.exec(n, `ALTER SUBSCRIPTION `+sub+` CONNECTION '`+strings.ReplaceAll(conn, "'", "''")+` user=repl password=r'`)
				c.exec(n, `ALTER SUBSCRIPTION `+sub+` OWNER TO owner`)
			}
		}
		for range 2 { // it may be run again
			c.script(n, grants.Script(role))
		}
		c.exec(n, `ALTER ROLE "the ""healer""" PASSWORD 'h'`)
		if got := value[int64](c, n, `SELECT (SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname = 'the "healer"') + (SELECT count(*)
			FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles h ON h.oid = m.member
			WHERE h.rolname = 'the "healer"' AND (r.rolsuper OR (m.set_option AND r.rolname = 'owner')))`); got != 0 {
			t.Errorf("%s: the role has more than it was to get", n)
		}
	}
	c.startAll()
	c.lag(200)
	// What the source changes the laggard skips: it has to be repaired.
	c.exec("n2", `UPDATE account SET note = 'n2' WHERE id = 10001`)
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	last := c.recovered("n3", "n1", "n2", "n3")
	if last.Source != "n2" || last.Transactions != 200 {
		t.Errorf("carried %d transactions from %s: want 200 from n2", last.Transactions, last.Source)
	}
	c.equal("n2", "n3")
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.rejoined("n1")

	c.script("n3", `SELECT pg_replication_origin_create('elsewhere'); SELECT pg_replication_origin_session_setup('elsewhere');
		UPDATE account SET note = 'n3 alone' WHERE id = 10002; SELECT pg_replication_origin_session_reset()`)
	if code, said := c.command("verify"); code != 1 {
		t.Errorf("verify ended with %d:\n%s", code, said)
	}
	if code, said := c.command("verify", "--repair"); code != 0 {
		t.Errorf("verify --repair ended with %d:\n%s", code, said)
	}
	c.equal("n1", "n2", "n3")
}

// script runs several statements as the superuser.
func (c *cluster) script(node, sql string) {
	c.t.Helper()
	conn, err := pgx.Connect(context.Background(), c.mesh.Node(node).DSN())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // nothing is left to do on it
	if err := conn.PgConn().Exec(context.Background(), sql).Close(); err != nil {
		c.t.Fatalf("%s: %v\n%s", node, err, sql)
	}
}
