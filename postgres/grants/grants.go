package grants

import (
	"slices"
	"strings"
)

// Statement is one statement and what it is for.
type Statement struct {
	Why string `json:"why"`
	SQL string `json:"sql"`
}

// Functions are those that Healer calls and that PostgreSQL does not let everybody
// call, as system_functions.sql of 16 to 18 has it.
func Functions() []string {
	return []string{
		"pg_show_replication_origin_status()",
		"pg_replication_origin_create(text)",
		"pg_replication_origin_drop(text)",
		"pg_replication_origin_oid(text)",
		"pg_replication_origin_progress(text, boolean)",
		"pg_replication_origin_session_setup(text)",
		"pg_replication_origin_session_reset()",
		"pg_replication_origin_session_progress(boolean)",
		"pg_replication_origin_xact_setup(pg_lsn, timestamp with time zone)",
		"pg_replication_origin_xact_reset()",
		"pg_replication_origin_advance(text, pg_lsn)",
		"pg_log_standby_snapshot()",
	}
}

// Statements are what a superuser runs in the database of each node so that the role
// can do all that Healer does. They find out themselves what the database has, and
// may be run again: they must be, when a table or a subscription has another owner
// than those before.
func Statements(role string) []Statement {
	r, l := ident(role), literal(role)
	var calls []string
	for _, f := range Functions() {
		calls = append(calls, "pg_catalog."+f)
	}
	return []Statement{
		{"The role, without a password: give it one, or another way to log in, for pg_hba.conf", do(
			"IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = " + l + ") THEN CREATE ROLE " + r + "; END IF;")},
		{"To stream from slots, to make, copy and drop them", "ALTER ROLE " + r + " LOGIN REPLICATION INHERIT"},
		{"To see what apply workers and walsenders do", "GRANT pg_read_all_stats TO " + r},
		{
			"To apply changes as an apply worker does: no ordinary triggers, no foreign keys",
			"GRANT SET ON PARAMETER session_replication_role TO " + r,
		},
		{"To find out where a subscription reads from", "GRANT SELECT (subconninfo) ON pg_catalog.pg_subscription TO " + r},
		{
			"To apply under a replication origin, to leave marks, and to let slots move on",
			"GRANT EXECUTE ON FUNCTION " + strings.Join(calls, ", ") + " TO " + r,
		},
		{
			"To make publications of what has to be decoded",
			do("EXECUTE pg_catalog.format('GRANT CREATE ON DATABASE %I TO " + strings.ReplaceAll(strings.ReplaceAll(r, "%", "%%"), "'", "''") + "', pg_catalog.current_database());"),
		},
		{"To disable and enable the subscriptions, to read and write what they replicate, and to publish it: the rights of the owners, without their names", owners(r)},
	}
}

// owners grants the owners of the subscriptions, and of the tables that are published
// or subscribed to. SET FALSE: the role has their rights, and cannot become them.
func owners(role string) string {
	grant := strings.ReplaceAll(strings.ReplaceAll(role, "%", "%%"), "'", "''")
	return `DO $healer$
DECLARE o record;
BEGIN
 FOR o IN
  SELECT DISTINCT r.rolname, r.rolsuper FROM pg_catalog.pg_roles r JOIN (
   SELECT s.subowner AS id FROM pg_catalog.pg_subscription s
    JOIN pg_catalog.pg_database d ON d.oid = s.subdbid AND d.datname = pg_catalog.current_database()
   UNION SELECT c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_subscription_rel sr ON sr.srrelid = c.oid
   UNION SELECT c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_publication_tables p ON p.schemaname = n.nspname AND p.tablename = c.relname
  ) AS owned ON owned.id = r.oid ORDER BY 1
 LOOP
  IF o.rolsuper THEN
   RAISE WARNING 'role % owns what is replicated and is a superuser: give it to another owner, or Healer has the rights of all that % owns', o.rolname, o.rolname;
  END IF;
  EXECUTE pg_catalog.format('GRANT %I TO ` + grant + ` WITH INHERIT TRUE, SET FALSE', o.rolname);
 END LOOP;
END $healer$`
}

// Script is the statements as a file for psql.
func Script(role string) string {
	var b strings.Builder
	for _, s := range Statements(role) {
		b.WriteString("-- " + s.Why + ".\n" + s.SQL + ";\n\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Valid reports whether a role can have the name: PostgreSQL cuts longer ones, and
// keeps some for itself.
func Valid(role string) bool {
	return role != "" && len(role) <= 63 && !strings.HasPrefix(role, "pg_") && !strings.ContainsRune(role, 0) &&
		!slices.Contains([]string{"public", "none"}, role) && !strings.Contains(role, "$healer$")
}

func do(body string) string { return "DO $healer$ BEGIN " + body + " END $healer$" }

func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func literal(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}
