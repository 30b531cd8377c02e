package pglogical

import (
	"fmt"

	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// Name is what the cluster's file calls the engine.
const Name = "pglogical"

// Dialect is how pglogical is read and told.
type Dialect struct{}

// New makes an engine for meshes of pglogical alone.
func New(o engine.Options) *engine.Engine {
	o.Dialects = []engine.Dialect{Dialect{}}
	return engine.New(o)
}

// Name implements engine.Dialect, and so do all methods.
func (Dialect) Name() string { return Name }

// Extension is pglogical.
func (Dialect) Extension() string { return "pglogical" }

// Oldest is the release from which on pgoutput and publications can do what is asked
// of them here: lists of columns, and a clone of a slot with another plugin.
func (Dialect) Oldest() (version int, why string) {
	return 150000, "publications with lists of columns need"
}

// Subscriptions reads pglogical.subscription. The origin has the slot's name, and the
// process tells by its name which subscription it works for: pglogical apply
// <database>:<subscription>, or pglogical sync <table> <database>:<subscription>.
func (Dialect) Subscriptions(g engine.Grants) string {
	progress, join := `'0/0'`, ``
	if g.Progress {
		progress = `coalesce(o.remote_lsn, '0/0')`
		join = `LEFT JOIN pg_show_replication_origin_status() o ON o.external_id = s.sub_slot_name::text`
	}
	return `coalesce((
	SELECT jsonb_agg(jsonb_build_object(
		'name', s.sub_name, 'id', s.sub_id::bigint, 'enabled', s.sub_enabled, 'origin', s.sub_slot_name,
		'slot', s.sub_slot_name, 'publications', to_jsonb(coalesce(s.sub_replication_sets, '{}')),
		'forwards', coalesce(array_to_string(s.sub_forward_origins, ','), ''),
		'owned', true,
		'conninfo', i.if_dsn, 'progress', ` + progress + `,
		'unready', (SELECT count(*) FROM pglogical.local_sync_status y
			WHERE y.sync_subid = s.sub_id AND y.sync_status NOT IN ('r', 'y')),
		'workers', coalesce((
			SELECT jsonb_agg(jsonb_build_object(
				'leader', a.backend_type LIKE 'pglogical apply %', 'sync', a.backend_type LIKE 'pglogical sync %',
				'wait', ` + engine.WaitOfExtension + `))
			FROM pg_stat_activity a
			WHERE a.backend_type LIKE 'pglogical %' AND a.datname = current_database()
			AND a.backend_type LIKE '%:' || s.sub_id), '[]')
	) ORDER BY s.sub_name)
	FROM pglogical.subscription s JOIN pglogical.local_node l ON l.node_id = s.sub_target
	JOIN pglogical.node_interface i ON i.if_id = s.sub_origin_if ` + join + `
), '[]')`
}

// Find looks a subscription up by its id.
func (Dialect) Find() string {
	return `SELECT sub_name::text, sub_enabled FROM pglogical.subscription WHERE sub_id::bigint = $1::bigint`
}

// Tables are those of the node's own replication sets that the subscription asks for by
// name, and those of Healer's publications; see the package's comment.
func (Dialect) Tables(id string) string {
	return `SELECT n.nspname AS schema, c.relname AS name,
			coalesce((SELECT y.sync_status IN ('r', 'y') FROM pglogical.local_sync_status y
				WHERE y.sync_subid::bigint = ` + id + ` AND y.sync_nspname = n.nspname AND y.sync_relname = c.relname), true) AS ready
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname NOT IN (` + ownSchemas + `) AND (c.oid IN (
			SELECT t.set_reloid FROM pglogical.replication_set_table t
			JOIN pglogical.replication_set r ON r.set_id = t.set_id JOIN pglogical.local_node l ON l.node_id = r.set_nodeid
			WHERE r.set_name = ANY (SELECT unnest(sub_replication_sets) FROM pglogical.subscription WHERE sub_id::bigint = ` + id + `))
		OR c.oid IN (SELECT r.prrelid FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
			WHERE p.pubname IN ('healer', 'healer_inserts')))`
}

// ownSchemas are the extension's, and what is in them is not the mesh's.
const ownSchemas = `'pglogical', 'pglogical_origin'`

// Sends is what replication sets send: a line for each table, because pglogical joins
// the sets itself. A row must pass the filters of all; of the columns, those are sent that
// any set lists, or all when none lists any.
func (Dialect) Sends() string {
	return `SELECT coalesce(jsonb_agg(jsonb_build_object(
		'schema', n.nspname, 'name', c.relname, 'publication', '',
		'filter', coalesce(s.filter, ''), 'columns', to_jsonb(s.columns),
		'identity', ` + engine.IdentitySQL + `,
		'insert', s.ins, 'update', s.upd, 'delete', s.del, 'truncate', s.tru
	) ORDER BY n.nspname, c.relname), '[]')
	FROM (
		SELECT t.set_reloid, bool_or(r.replicate_insert) AS ins, bool_or(r.replicate_update) AS upd,
			bool_or(r.replicate_delete) AS del, bool_or(r.replicate_truncate) AS tru,
			string_agg(DISTINCT '(' || pg_get_expr(t.set_row_filter, t.set_reloid) || ')', ' AND ') AS filter,
			(SELECT array_agg(DISTINCT col ORDER BY col) FROM pglogical.replication_set_table o
				JOIN pglogical.replication_set os ON os.set_id = o.set_id AND os.set_name = ANY ($1::text[]), unnest(o.set_att_list) col
				WHERE o.set_reloid = t.set_reloid) AS columns
		FROM pglogical.replication_set_table t
		JOIN pglogical.replication_set r ON r.set_id = t.set_id JOIN pglogical.local_node l ON l.node_id = r.set_nodeid
		WHERE r.set_name = ANY ($1::text[]) GROUP BY t.set_reloid
	) s
	JOIN pg_class c ON c.oid = s.set_reloid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname NOT IN (` + ownSchemas + `)`
}

// Decodable is false: pgoutput knows no replication sets.
func (Dialect) Decodable() bool { return false }

// Queue is pglogical.queue.
func (Dialect) Queue() topology.TableName {
	return topology.TableName{Schema: "pglogical", Name: "queue"}
}

// Conflicts is the setting of the apply workers. One that has to stop does so again and
// again, until the row is as it should be.
func (Dialect) Conflicts() string {
	return `CASE WHEN current_setting('pglogical.conflict_resolution', true) = 'error' THEN 'stop'
		ELSE coalesce(current_setting('pglogical.conflict_resolution', true), 'apply_remote') END`
}

// Author reads the name of an origin: the slot's for an apply worker, for the copy of a
// table the same with eight hexadecimal digits behind it.
func (Dialect) Author(origin string, subs []engine.Subscription) (uint32, bool) {
	return engine.AuthorBySlot(origin, subs)
}

// Primed is true: the origin is set to the slot's position.
func (Dialect) Primed() bool { return true }

// Prepared is empty: pglogical applies a prepared transaction when it is committed.
func (Dialect) Prepared() string { return "" }

// Rests knows the wait event of the apply worker's loop.
func (Dialect) Rests(event string) engine.Rest {
	return engine.RestOfExtension(event)
}

// EndConnecting ends nobody: the client library in the worker looks at a signal when its
// attempt is over, for which pglogical gives it 30 seconds.
func (Dialect) EndConnecting() string { return `SELECT to_jsonb(0)` }

// Disable ends the worker when the transaction commits, so that the mark is there then.
// With immediate it would end before, and could not stand in a transaction.
func (Dialect) Disable(name string) string {
	return "SELECT pglogical.alter_subscription_disable(" + postgres.Literal(name) + ", false)"
}

// Enable is the reverse.
func (Dialect) Enable(name string) string {
	return "SELECT pglogical.alter_subscription_enable(" + postgres.Literal(name) + ", false)"
}

// Drop removes the subscription, its origin, and with the last subscription to a
// provider the provider's node. It tries to drop the slot there and goes on without.
func (Dialect) Drop(name string) string {
	return "SELECT pglogical.drop_subscription(" + postgres.Literal(name) + ", true)"
}

// Create is not there: pglogical has no subscription without a slot, nor one that is
// made disabled.
func (d Dialect) Create(l engine.Link) (string, error) {
	return "", engine.Unsupported(Name, fmt.Sprintf("make subscription %q without a copy of the tables", l.Name),
		"make it by hand with pglogical.create_subscription(..., forward_origins := '{}')")
}

// Findings are forwarded origins, by which changes go round.
func (Dialect) Findings(s engine.Subscription, known bool) []topology.Finding {
	var out []topology.Finding
	if known && s.Forwards != "" {
		out = append(out, topology.Finding{
			Code: "subscription_origin", Blocking: true,
			Detail: fmt.Sprintf("subscription %q has forward_origins {%s}: it also receives what its provider applied, and changes go round", s.Name, s.Forwards),
			Remedy: "UPDATE pglogical.subscription SET sub_forward_origins = NULL WHERE sub_name = " + postgres.Literal(s.Name) +
				"; SELECT pglogical.alter_subscription_disable(" + postgres.Literal(s.Name) + "); SELECT pglogical.alter_subscription_enable(" + postgres.Literal(s.Name) + ")",
		})
	}
	return out
}
