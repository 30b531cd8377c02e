package doctor

import (
	"fmt"
	"slices"
	"strings"

	"healer/postgres"
	"healer/topology"
)

// options are what a server's catalogs say of that may not work between servers of
// different majors.
type options struct {
	// Failover and Binary are subscriptions that have those options, Generated
	// publications that send stored generated columns.
	Failover  []string `json:"failover"`
	Binary    []string `json:"binary"`
	Generated []string `json:"generated"`
	// Columns are those of published tables whose type has more values in later majors.
	Columns []column `json:"columns"`
}

type column struct {
	Table string `json:"table"`
	Name  string `json:"name"`
	Type  string `json:"type"`
}

// grown is a type that got values which earlier majors do not read.
type grown struct {
	since  int
	values string
	remedy string
}

// grownTypes are those of the releases that are tested, from their release notes.
func grownTypes() map[string]grown {
	return map[string]grown{
		"interval": {since: 17, values: "infinity", remedy: "ALTER TABLE %[1]s ADD CHECK (isfinite(%[2]s)) on the newer servers"},
		"jsonpath": {since: 17, values: ".bigint() and other methods", remedy: "keep them out of %[2]s of %[1]s"},
	}
}

// optionsSQL is an expression for options. Columns that a major does not have cannot be
// named: of pg_subscription a role that is no superuser may not read the whole row.
func optionsSQL(version int) string {
	failover := "false"
	if version >= 170000 {
		failover = "s.subfailover"
	}
	names := func(what, from string) string {
		return `(SELECT coalesce(json_agg(` + what + ` ORDER BY ` + what + `), '[]') FROM ` + from + `)`
	}
	ours := ` AND s.subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())`
	return `json_build_object(
 'failover', ` + names("s.subname", "pg_catalog.pg_subscription s WHERE "+failover+ours) + `,
 'binary', ` + names("s.subname", "pg_catalog.pg_subscription s WHERE s.subbinary"+ours) + `,
 'generated', ` + names("p.pubname", "pg_catalog.pg_publication p WHERE p.pubname NOT IN ('healer', 'healer_inserts') AND to_jsonb(p) ->> 'pubgencols' = 's'") + `,
 'columns', (SELECT coalesce(json_agg(c ORDER BY c."table", c.name), '[]') FROM (
  SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS "table", format('%I', a.attname) AS name, a.atttypid::regtype::text AS type
  FROM pg_catalog.pg_publication p
  CROSS JOIN LATERAL pg_catalog.pg_get_publication_tables(p.pubname::text) t
  JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE a.atttypid IN ('interval'::regtype, 'jsonpath'::regtype)) c))`
}

// mixed names what cannot work between this server and others of other majors. Engines
// that are extensions have none of these options.
func mixed(r reading, n topology.NodeState) []problem {
	major := n.Version / 10000
	newest, oldest := major, major
	for _, peer := range r.obs.Nodes {
		if peer.Reachable && peer.Engine == "" {
			newest, oldest = max(newest, peer.Version/10000), min(oldest, peer.Version/10000)
		}
	}
	if !n.Reachable || n.Engine != "" || newest == oldest {
		return nil
	}
	x := r.extras[n.Name].options
	var out []problem
	for _, sub := range n.Subscriptions {
		provider, ok := r.obs.Node(sub.Provider)
		if !ok || !provider.Reachable {
			continue
		}
		theirs, name := provider.Version/10000, postgres.Ident(sub.Name)
		if slices.Contains(x.Failover, sub.Name) && theirs < 17 {
			out = append(out, problem{
				Node: n.Name, Code: "mixed_failover", Severity: warning,
				Detail: fmt.Sprintf("subscription %q has failover = true, which PostgreSQL %d of %s does not know: the slot is not on its standbys", sub.Name, theirs, provider.Name),
				Remedy: "upgrade " + provider.Name + " to PostgreSQL 17 or later",
			})
		}
		if slices.Contains(x.Binary, sub.Name) && theirs != major {
			out = append(out, problem{
				Node: n.Name, Code: "mixed_binary", Severity: warning,
				Detail: fmt.Sprintf("subscription %q asks PostgreSQL %d of %s for binary values, whose form is only the same within one major", sub.Name, theirs, provider.Name),
				Remedy: "ALTER SUBSCRIPTION " + name + " SET (binary = false)",
			})
		}
	}
	for _, pub := range x.Generated {
		if oldest < 18 {
			out = append(out, problem{
				Node: n.Name, Code: "mixed_generated", Severity: warning,
				Detail: fmt.Sprintf("publication %q sends generated columns, which PostgreSQL %d does not: a column that is generated there stops its apply workers, and from its log the values are missing", pub, oldest),
				Remedy: "ALTER PUBLICATION " + postgres.Ident(pub) + " SET (publish_generated_columns = none), and let each node generate them",
			})
		}
	}
	return append(out, unread(n, x.Columns, major, newest)...)
}

// unread are the columns into which newer servers may write what this one cannot read.
func unread(n topology.NodeState, columns []column, major, newest int) []problem {
	var out []problem
	for name, typ := range grownTypes() {
		if major >= typ.since || newest < typ.since {
			continue
		}
		var where, remedies []string
		for _, c := range columns {
			if c.Type == name {
				where = append(where, c.Table+"."+c.Name)
				remedies = append(remedies, fmt.Sprintf(typ.remedy, c.Table, c.Name))
			}
		}
		if len(where) == 0 {
			continue
		}
		out = append(out, problem{
			Node: n.Name, Code: "mixed_values", Severity: info,
			Detail: fmt.Sprintf("PostgreSQL %d does not read what later ones may write into %s (type %s: %s): such a row stops its apply workers, and a recovery",
				major, strings.Join(where, ", "), name, typ.values),
			Remedy: strings.Join(remedies, "; ") + "; or upgrade " + n.Name,
		})
	}
	slices.SortFunc(out, func(a, b problem) int { return strings.Compare(a.Detail, b.Detail) })
	return out
}
