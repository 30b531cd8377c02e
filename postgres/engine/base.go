package engine

import (
	"context"
	"slices"

	"healer/postgres"
	needed "healer/postgres/grants"
	"healer/topology"
)

// base is what can be read from any server by any role: who it is, how it is
// set, and what else the role may read.
type base struct {
	Version    int               `json:"version"`
	SystemID   uint64            `json:"system_id,string"`
	StartedAt  int64             `json:"started_at"`
	Database   string            `json:"database"`
	Timeline   uint32            `json:"timeline"`
	InRecovery bool              `json:"in_recovery"`
	Flushed    topology.LSN      `json:"flushed"`
	Checkpoint topology.LSN      `json:"checkpoint"`
	Role       string            `json:"role"`
	Super      bool              `json:"super"`
	Replicates bool              `json:"replicates"`
	Stats      bool              `json:"stats"`
	ConnInfo   bool              `json:"conninfo"`
	ReplicaSet *bool             `json:"replica_role"`
	Settings   map[string]string `json:"settings"`
	// Subscribes is set when the database has subscriptions of PostgreSQL's own.
	Subscribes bool     `json:"subscribes"`
	Extensions []string `json:"extensions"`
	// Functions has null for a function that this version does not have.
	Functions map[string]*bool `json:"functions"`
}

func (b base) identity() topology.Identity {
	return topology.Identity{SystemID: b.SystemID, Timeline: b.Timeline, StartedAt: b.StartedAt}
}

func (b base) may(function string) bool {
	ok := b.Functions[function]
	return ok != nil && *ok
}

// Grants are the privileges that decide which catalogs a query can name.
type Grants struct {
	Progress bool // pg_show_replication_origin_status
	ConnInfo bool // pg_subscription.subconninfo
}

func (b base) grants() Grants {
	return Grants{Progress: b.may(fnOriginStatus), ConnInfo: b.ConnInfo}
}

func (b base) has(extension string) bool { return slices.Contains(b.Extensions, extension) }

// started is the postmaster's start in microseconds: exact, so that every
// observer has the same number.
const started = `(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint`

// The timeline is read from the log being written: the control file knows a
// new one only from its first checkpoint on.
const baseSQL = `SELECT jsonb_build_object(
	'version', current_setting('server_version_num')::int,
	'system_id', (SELECT system_identifier::text FROM pg_control_system()),
	'started_at', ` + started + `,
	'database', current_database(),
	'in_recovery', pg_is_in_recovery(),
	'timeline', CASE WHEN pg_is_in_recovery()
		THEN (SELECT timeline_id FROM pg_control_checkpoint())
		ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END,
	'flushed', CASE WHEN pg_is_in_recovery()
		THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END,
	'checkpoint', (SELECT checkpoint_lsn FROM pg_control_checkpoint()),
	'role', current_user,
	'super', r.rolsuper,
	'replicates', r.rolreplication OR r.rolsuper,
	'stats', pg_has_role('pg_read_all_stats', 'USAGE'),
	'conninfo', has_column_privilege('pg_subscription', 'subconninfo', 'SELECT'),
	'replica_role', CASE WHEN current_setting('server_version_num')::int >= 150000 THEN
		has_parameter_privilege('session_replication_role', 'SET') END,
	'subscribes', EXISTS (SELECT FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())),
	'extensions', (SELECT coalesce(jsonb_agg(extname), '[]') FROM pg_extension),
	'settings', (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name = ANY ($1)),
	'functions', (SELECT jsonb_object_agg(f, has_function_privilege(to_regprocedure(f)::oid, 'EXECUTE')) FROM unnest($2::text[]) f)
) FROM pg_roles r WHERE r.rolname = current_user`

func readBase(ctx context.Context, s *postgres.Server) (base, error) {
	var b base
	err := s.JSON(ctx, &b, baseSQL, settingNames(), needed.Functions())
	return b, err
}

// who is the least by which a server is told from every other.
type who struct {
	SystemID  uint64 `json:"system_id,string"`
	StartedAt int64  `json:"started_at"`
	Database  string `json:"database"`
}

func (b base) who() who { return who{b.SystemID, b.StartedAt, b.Database} }

// whoSQL can be asked by any role: the one a subscription connects with has
// hardly any privilege.
const whoSQL = `SELECT jsonb_build_object(
	'system_id', (SELECT system_identifier::text FROM pg_control_system()),
	'started_at', ` + started + `, 'database', current_database())`
