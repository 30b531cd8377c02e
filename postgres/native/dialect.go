package native

import (
	"fmt"
	"strconv"
	"strings"

	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// Name is what the cluster's file calls the engine.
const Name = "native"

// Dialect is how PostgreSQL's own logical replication is read and told.
type Dialect struct{}

// New makes an engine for meshes of PostgreSQL's own logical replication alone.
func New(o engine.Options) *engine.Engine {
	o.Dialects = []engine.Dialect{Dialect{}}
	return engine.New(o)
}

// Name implements engine.Dialect, and so do all methods.
func (Dialect) Name() string { return Name }

// Extension is none.
func (Dialect) Extension() string { return "" }

// Oldest is the first server with subscriptions of origin = none.
func (Dialect) Oldest() (version int, why string) {
	return 160000, "subscriptions without echo need"
}

// Subscriptions reads pg_subscription and pg_stat_subscription.
func (Dialect) Subscriptions(g engine.Grants) string {
	progress, join, conninfo := `'0/0'`, ``, `''`
	if g.Progress {
		progress = `coalesce(o.remote_lsn, '0/0')`
		join = `LEFT JOIN pg_show_replication_origin_status() o ON o.external_id = 'pg_' || s.oid`
	}
	if g.ConnInfo {
		conninfo = `s.subconninfo`
	}
	return `coalesce((
	SELECT jsonb_agg(jsonb_build_object(
		'name', s.subname, 'id', s.oid::bigint, 'enabled', s.subenabled, 'origin', 'pg_' || s.oid,
		'slot', coalesce(s.subslotname, ''), 'publications', to_jsonb(s.subpublications),
		'forwards', s.suborigin, 'owned', pg_has_role(s.subowner, 'USAGE'),
		'conninfo', ` + conninfo + `, 'progress', ` + progress + `,
		'unready', (SELECT count(*) FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate NOT IN ('r', 's')),
		'workers', coalesce((
			SELECT jsonb_agg(jsonb_build_object(
				'leader', w.relid IS NULL AND w.leader_pid IS NULL, 'sync', w.relid IS NOT NULL,
				'wait', coalesce(a.wait_event, '')))
			FROM pg_stat_subscription w
			LEFT JOIN pg_stat_activity a ON a.pid = w.pid AND a.backend_type LIKE 'logical replication%'
			WHERE w.subid = s.oid AND w.pid IS NOT NULL), '[]')
	) ORDER BY s.subname)
	FROM pg_subscription s ` + join + `
	WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
), '[]')`
}

// Find looks a subscription up by its oid.
func (Dialect) Find() string {
	return `SELECT subname::text, subenabled FROM pg_subscription WHERE oid::bigint = $1::bigint`
}

// Tables are those of pg_subscription_rel.
func (Dialect) Tables(id string) string {
	return `SELECT n.nspname AS schema, c.relname AS name, r.srsubstate IN ('r', 's') AS ready
		FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE r.srsubid::bigint = ` + id
}

// Sends is what publications publish.
func (Dialect) Sends() string { return engine.PublishedSQL }

// Decodable is true: the sets are publications.
func (Dialect) Decodable() bool { return true }

// Queue is none: all that a subscriber gets are changes of rows.
func (Dialect) Queue() topology.TableName { return topology.TableName{} }

// Command is never asked for.
func (Dialect) Command(map[string]string, []string) engine.Command { return engine.Command{} }

// Conflicts is none: an apply worker stops, or skips what has no row.
func (Dialect) Conflicts() string { return "" }

// Author reads the name of an origin: pg_<suboid> for an apply worker,
// pg_<suboid>_<reloid> for the copy of a table.
func (Dialect) Author(origin string, _ []engine.Subscription) (uint32, bool) {
	rest, ok := strings.CutPrefix(origin, "pg_")
	if !ok {
		return 0, false
	}
	head, _, _ := strings.Cut(rest, "_")
	oid, err := strconv.ParseUint(head, 10, 32)
	return uint32(oid), err == nil
}

// Primed is false: progress begins with the first transaction.
func (Dialect) Primed() bool { return false }

// Prepared reads the names that apply workers give: pg_gid_<suboid>_<xid>.
func (Dialect) Prepared() string {
	return `SELECT coalesce(jsonb_agg(substring(gid FROM '[0-9]+$') ORDER BY gid), '[]')
		FROM pg_prepared_xacts WHERE database = current_database() AND gid ~ ('^pg_gid_' || $1 || '_[0-9]+$')`
}

// Rests knows the wait events in which an apply worker holds nothing that it
// received and has not applied: between messages, or still connecting. It looks at its
// subscription again before it applies anything.
func (Dialect) Rests(event string) engine.Rest {
	switch event {
	case "LogicalApplyMain":
		return engine.Listening
	case "LibPQWalReceiverConnect", "LibPQWalReceiverReceive", // 16
		"LibpqwalreceiverConnect", "LibpqwalreceiverReceive": // 17 on
		return engine.Connecting
	}
	return engine.Working
}

// EndConnecting ends workers that wait for an answer.
func (Dialect) EndConnecting() string {
	return `SELECT to_jsonb(count(pg_terminate_backend(w.pid)))
	FROM pg_stat_subscription w JOIN pg_stat_activity a ON a.pid = w.pid
	JOIN pg_subscription s ON s.oid = w.subid AND NOT s.subenabled
	WHERE w.subid::bigint = $1 AND a.backend_type LIKE 'logical replication%' AND lower(a.wait_event) LIKE 'libpqwalreceiver%'`
}

// Disable is ALTER SUBSCRIPTION.
func (Dialect) Disable(name string) string {
	return "ALTER SUBSCRIPTION " + postgres.Ident(name) + " DISABLE"
}

// Enable is ALTER SUBSCRIPTION.
func (Dialect) Enable(name string) string {
	return "ALTER SUBSCRIPTION " + postgres.Ident(name) + " ENABLE"
}

// Drop leaves the slot at the provider alone: DROP SUBSCRIPTION with a slot can
// neither stand in a transaction nor succeed without the provider.
func (Dialect) Drop(name string) string {
	q := postgres.Ident(name)
	return "ALTER SUBSCRIPTION " + q + " DISABLE; ALTER SUBSCRIPTION " + q + " SET (slot_name = NONE); DROP SUBSCRIPTION " + q
}

// Create is CREATE SUBSCRIPTION with origin = none.
func (Dialect) Create(l engine.Link) (string, error) {
	quoted := make([]string, len(l.Publications))
	for i, p := range l.Publications {
		quoted[i] = postgres.Ident(p)
	}
	return "CREATE SUBSCRIPTION " + postgres.Ident(l.Name) + " CONNECTION " + postgres.Literal(l.ConnInfo) +
		" PUBLICATION " + strings.Join(quoted, ", ") +
		" WITH (enabled = false, create_slot = false, copy_data = false, origin = none, slot_name = " + postgres.Literal(l.Slot) + ")", nil
}

// Findings are an owner whose rights Healer's role lacks, and a subscription that
// echoes.
func (Dialect) Findings(s engine.Subscription, known bool) []topology.Finding {
	var out []topology.Finding
	name := postgres.Ident(s.Name)
	if !s.Owned {
		out = append(out, topology.Finding{
			Code: "subscription_owner", Blocking: true,
			Detail: fmt.Sprintf("Healer's role is no member of the owner of subscription %q and cannot fence it", s.Name),
			Remedy: "ALTER SUBSCRIPTION " + name + " OWNER TO ..., or GRANT its owner to Healer's role",
		})
	}
	if known && s.Forwards != "none" {
		out = append(out, topology.Finding{
			Code: "subscription_origin", Blocking: true,
			Detail: fmt.Sprintf("subscription %q also receives what its provider applied: changes echo", s.Name),
			Remedy: "ALTER SUBSCRIPTION " + name + " SET (origin = none)",
		})
	}
	return out
}
