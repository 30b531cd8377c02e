package spock

import (
	"fmt"

	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// Name is what the cluster's file calls the engine.
const Name = "spock"

// Dialect is how Spock is read and told.
type Dialect struct{}

// New makes an engine for meshes of Spock alone.
func New(o engine.Options) *engine.Engine {
	o.Dialects = []engine.Dialect{Dialect{}}
	return engine.New(o)
}

// Name implements engine.Dialect, and so do all methods.
func (Dialect) Name() string { return Name }

// Extension is spock.
func (Dialect) Extension() string { return "spock" }

// Oldest is the first release that Spock 5 and 6 have patches for (patches/ in its
// source).
func (Dialect) Oldest() (version int, why string) { return 150000, "Spock needs" }

// progressed is an expression: what the node has applied for subscription s; see the
// package's comment. named is the origin's own progress. Both other sources outlive the
// subscription, and a provider that was made anew has the same id and begins its positions
// anew: the id's progress counts only when it is of a commit behind the origin's last, as it
// is after a crash, and the table's only when it was written since the subscription was
// made. Too little is told at worst, which has rows carried that are there.
//
// to_jsonb finds a column by its name when the query runs: remote_lsn is Spock 5's alone,
// sub_created_at is there from 5.0.6 on.
func progressed(named string) string {
	return `greatest(` + named + `,
		(SELECT o.remote_lsn FROM pg_show_replication_origin_status() o WHERE o.local_id = s.sub_origin AND o.external_id IS NULL
			AND o.local_lsn > coalesce((SELECT n.local_lsn FROM pg_show_replication_origin_status() n
				WHERE n.external_id = s.sub_slot_name::text), '0/0')),
		CASE WHEN (SELECT c.relkind = 'r' FROM pg_class c WHERE c.oid = to_regclass('spock.progress')) THEN
			(SELECT max((to_jsonb(p) ->> 'remote_lsn')::pg_lsn) FROM spock.progress p
			WHERE p.node_id = s.sub_target AND p.remote_node_id = s.sub_origin
			AND p.last_updated_ts >= coalesce((to_jsonb(s) ->> 'sub_created_at')::timestamptz, '-infinity')) END,
		'0/0')`
}

// Subscriptions reads spock.subscription. The origin has the slot's name, and a process
// tells by its name which subscription it works for (spock_worker_register in
// src/spock_worker.c): spock apply <database>:<subscription>, or
// spock sync <table> <database>:<subscription>.
func (Dialect) Subscriptions(g engine.Grants) string {
	progress := `'0/0'::pg_lsn`
	if g.Progress {
		progress = progressed(`(SELECT o.remote_lsn FROM pg_show_replication_origin_status() o WHERE o.external_id = s.sub_slot_name::text)`)
	}
	return `coalesce((
	SELECT jsonb_agg(jsonb_build_object(
		'name', s.sub_name, 'id', s.sub_id::bigint, 'enabled', s.sub_enabled, 'origin', s.sub_slot_name,
		'writer', s.sub_origin::bigint, 'slot', s.sub_slot_name,
		'publications', to_jsonb(coalesce(s.sub_replication_sets, '{}')),
		'forwards', coalesce(array_to_string(s.sub_forward_origins, ','), ''),
		'owned', has_schema_privilege('spock', 'USAGE')
			AND has_function_privilege('spock.sub_disable(name, boolean)', 'EXECUTE')
			AND has_function_privilege('spock.sub_enable(name, boolean)', 'EXECUTE'),
		'conninfo', i.if_dsn, 'progress', ` + progress + `,
		'unready', (SELECT count(*) FROM spock.local_sync_status y
			WHERE y.sync_subid = s.sub_id AND y.sync_status NOT IN ('r', 'y')),
		'workers', coalesce((
			SELECT jsonb_agg(jsonb_build_object(
				'leader', a.backend_type LIKE 'spock apply %', 'sync', a.backend_type LIKE 'spock sync %',
				'wait', ` + engine.WaitOfExtension + `))
			FROM pg_stat_activity a
			WHERE (a.backend_type LIKE 'spock apply %' OR a.backend_type LIKE 'spock sync %')
			AND a.datname = current_database() AND a.backend_type LIKE '%:' || s.sub_id), '[]')
	) ORDER BY s.sub_name)
	FROM spock.subscription s JOIN spock.local_node l ON l.node_id = s.sub_target
	JOIN spock.node_interface i ON i.if_id = s.sub_origin_if
), '[]')`
}

// Find looks a subscription up by its id.
func (Dialect) Find() string {
	return `SELECT sub_name::text, sub_enabled FROM spock.subscription WHERE sub_id::bigint = $1::bigint`
}

// own are schemas whose tables are not the mesh's.
const own = `'spock'`

// Tables are those of the node's own replication sets that the subscription asks for by
// name: a subscriber has no list of what it receives, and in a mesh the sets are alike on
// all nodes. A partitioned table is in a set with its partitions, and only those have
// rows in the log.
func (Dialect) Tables(id string) string {
	return `SELECT n.nspname AS schema, c.relname AS name,
			coalesce((SELECT y.sync_status IN ('r', 'y') FROM spock.local_sync_status y
				WHERE y.sync_subid::bigint = ` + id + ` AND y.sync_nspname = n.nspname AND y.sync_relname = c.relname), true) AS ready
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname NOT IN (` + own + `) AND c.relkind = 'r' AND c.oid IN (
			SELECT t.set_reloid FROM spock.replication_set_table t
			JOIN spock.replication_set r ON r.set_id = t.set_id JOIN spock.local_node l ON l.node_id = r.set_nodeid
			WHERE r.set_name = ANY (SELECT unnest(sub_replication_sets) FROM spock.subscription WHERE sub_id::bigint = ` + id + `))`
}

// Sends is what replication sets send: a line for each table, because Spock joins the
// sets itself (get_table_replication_info in src/spock_repset.c). A row must pass the
// filters of all; of the columns, those are sent that any set lists, or all when none
// lists any. The age is that of the row that put the table into the set: the output
// plugin reads it as it was at the time of the transaction.
func (Dialect) Sends() string {
	return `SELECT coalesce(jsonb_agg(jsonb_build_object(
		'schema', n.nspname, 'name', c.relname, 'publication', '',
		'filter', coalesce(s.filter, ''), 'columns', to_jsonb(s.columns),
		'identity', ` + engine.IdentitySQL + `,
		'typed', coalesce((
			SELECT jsonb_agg(jsonb_build_object('name', a.attname,
				'type', format_type(a.atttypid, a.atttypmod), 'category', y.typcategory) ORDER BY a.attnum)
			FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
			AND (s.columns IS NULL OR a.attname = ANY (s.columns))), '[]'),
		'age', s.age, 'insert', s.ins, 'update', s.upd, 'delete', s.del, 'truncate', s.tru
	) ORDER BY n.nspname, c.relname), '[]')
	FROM (
		SELECT t.set_reloid, bool_or(r.replicate_insert) AS ins, bool_or(r.replicate_update) AS upd,
			bool_or(r.replicate_delete) AS del, bool_or(r.replicate_truncate) AS tru,
			max(CASE WHEN age(t.xmin) < 0 THEN 2147483647 ELSE age(t.xmin) END) AS age,
			string_agg(DISTINCT '(' || pg_get_expr(t.set_row_filter, t.set_reloid) || ')', ' AND ') AS filter,
			(SELECT array_agg(DISTINCT col ORDER BY col) FROM spock.replication_set_table o
				JOIN spock.replication_set os ON os.set_id = o.set_id AND os.set_name = ANY ($1::text[])
				JOIN spock.local_node ol ON ol.node_id = os.set_nodeid, unnest(o.set_att_list) col
				WHERE o.set_reloid = t.set_reloid) AS columns
		FROM spock.replication_set_table t
		JOIN spock.replication_set r ON r.set_id = t.set_id JOIN spock.local_node l ON l.node_id = r.set_nodeid
		WHERE r.set_name = ANY ($1::text[]) GROUP BY t.set_reloid
	) s
	JOIN pg_class c ON c.oid = s.set_reloid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname NOT IN (` + own + `) AND c.relkind = 'r'`
}

// Decodable is false: pgoutput knows no replication sets, and no origins of Spock.
func (Dialect) Decodable() bool { return false }

// Conflicts end by the last update: Spock has no other way (SpockConflictResolvers in
// src/spock.c).
func (Dialect) Conflicts() string { return `'last_update_wins'` }

// Author reads the name of an origin: the slot's for an apply worker, for the copy of a
// table the same with eight hexadecimal digits behind it (src/spock_sync.c).
func (Dialect) Author(origin string, subs []engine.Subscription) (uint32, bool) {
	return engine.AuthorBySlot(origin, subs)
}

// Primed is true: the origin begins where the slot was made (src/spock_sync.c).
func (Dialect) Primed() bool { return true }

// Prepared is empty: Spock's output plugin knows no two-phase commit.
func (Dialect) Prepared() string { return "" }

// Rests knows the wait event of the apply worker's loop (apply_work in src/spock_apply.c,
// and WaitLatchOrSocket in src/compat).
func (Dialect) Rests(event string) engine.Rest {
	return engine.RestOfExtension(event)
}

// EndConnecting ends workers that wait for an answer.
func (Dialect) EndConnecting() string {
	return `SELECT to_jsonb(count(pg_terminate_backend(a.pid)))
	FROM pg_stat_activity a JOIN spock.subscription s ON a.backend_type LIKE 'spock apply %:' || s.sub_id
	WHERE s.sub_id::bigint = $1 AND NOT s.sub_enabled AND a.datname = current_database() AND a.state IS NULL`
}

// Disable takes effect with the transaction's commit, together with the mark: the worker
// is told then (signal_worker_xact_callback in src/spock_worker.c). Halt follows.
func (Dialect) Disable(name string) string {
	return "SELECT spock.sub_disable(" + postgres.Literal(name) + ", false)"
}

// Enable is the reverse.
func (Dialect) Enable(name string) string {
	return "SELECT spock.sub_enable(" + postgres.Literal(name) + ", false)"
}

// Drop removes the subscription, its origin, and with the last subscription to a
// provider the provider's node. It tries to drop the slot there and goes on without
// (spock_drop_subscription in src/spock_functions.c).
func (Dialect) Drop(name string) string {
	return "SELECT spock.sub_drop(" + postgres.Literal(name) + ", true)"
}

// Create is not there: Spock makes up the slot's name itself (gen_slot_name in
// src/spock_functions.c).
func (Dialect) Create(l engine.Link) (string, error) {
	return "", engine.Unsupported(Name, fmt.Sprintf("make subscription %q with a slot of another's name", l.Name),
		"add the node as Spock's documents have it: samples/Z0DAN/zodan.sql")
}

// Findings are forwarded origins, by which changes go round, a slot that is one of a
// group, and a missing privilege.
func (Dialect) Findings(s engine.Subscription, known bool) []topology.Finding {
	var out []topology.Finding
	if !s.Owned {
		out = append(out, topology.Finding{
			Code: "subscription_owner", Blocking: true,
			Detail: fmt.Sprintf("Healer's role may not call spock.sub_disable and sub_enable and cannot fence %q", s.Name),
			Remedy: "GRANT USAGE ON SCHEMA spock TO Healer's role; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA spock TO it",
		})
	}
	if known && s.Forwards != "" {
		out = append(out, topology.Finding{
			Code: "subscription_origin", Blocking: true,
			Detail: fmt.Sprintf("subscription %q has forward_origins {%s}: it also receives what its provider applied, and changes go round", s.Name, s.Forwards),
			Remedy: "SELECT spock.sub_drop and sub_create it anew with forward_origins := '{}'; Spock 6: SELECT spock.sub_alter_options(" +
				postgres.Literal(s.Name) + `, '{"forward_origins": []}')`,
		})
	}
	if known && grouped(s.Slot) {
		out = append(out, topology.Finding{
			Code: "slot_group", Blocking: true,
			Detail: fmt.Sprintf("slot %s of subscription %q is one of a group, whose members share the transactions: no progress says what is applied", s.Slot, s.Name),
			Remedy: "subscribe once to the provider, by a subscription whose name does not end in _ and a digit",
		})
	}
	return out
}

// grouped reports whether the output plugin takes the slot for one of a group
// (spock_output_join_slot_group in src/spock_output_plugin.c): it looks for the first _
// with a digit behind it, and after that the end.
func grouped(slot string) bool {
	n := len(slot)
	return n >= 2 && slot[n-2] == '_' && slot[n-1] >= '0' && slot[n-1] <= '9'
}
