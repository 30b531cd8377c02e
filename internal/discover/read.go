package discover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/config"
	"healer/postgres"
	"healer/topology"
)

const (
	// within bounds what one server is asked.
	within = 10 * time.Second
	// minVersion is the first server with subscriptions of origin = none, minPglogical the
	// first on which an extension's mesh can be healed.
	minVersion, minExtension = 160000, 150000
)

// server is one server and database, as its catalogs have it.
type server struct {
	identity
	Role        string   `json:"role"`
	Version     int      `json:"version"`
	InRecovery  bool     `json:"in_recovery"`
	ClusterName string   `json:"cluster_name"`
	Readable    bool     `json:"readable"`
	Engines     []string `json:"engines"`
	// Subscribes is set when there are subscriptions of PostgreSQL's own.
	Subscribes bool `json:"subscribes"`
	Super      bool `json:"super"`
	// NodeName is what the extension calls the server.
	NodeName string `json:"-"`

	Subscriptions []subscription `json:"-"`
	Slots         []slot         `json:"-"`
}

// identity tells a server from every other: those that were made of a copy of another
// have its system identifier, but did not start when it did.
type identity struct {
	SystemID  string `json:"system_id"`
	StartedAt string `json:"started_at"`
	Database  string `json:"database"`
}

type subscription struct {
	Name     string `json:"name"`
	Slot     string `json:"slot"`
	Enabled  bool   `json:"enabled"`
	Origin   string `json:"origin"`
	ConnInfo string `json:"conninfo"`
}

// slot is a logical slot, with whoever reads it now.
type slot struct {
	Name        string `json:"name"`
	Plugin      string `json:"plugin"`
	Application string `json:"application"`
	Client      string `json:"client"`
}

// whoSQL can be asked of every version, by every role.
const whoSQL = `SELECT jsonb_build_object(
	'system_id', (SELECT system_identifier::text FROM pg_control_system()),
	'started_at', (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text,
	'database', current_database(), 'role', current_user,
	'version', current_setting('server_version_num')::int, 'in_recovery', pg_is_in_recovery(),
	'cluster_name', current_setting('cluster_name'),
	'subscribes', EXISTS (SELECT FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())),
	'super', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
	'readable', has_column_privilege('pg_subscription', 'subconninfo', 'SELECT'),
	'engines', (SELECT coalesce(jsonb_agg(extname ORDER BY extname), '[]') FROM pg_extension
		WHERE extname IN ('pglogical', 'spock', 'bdr')))`

const subscriptionsSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object(
	'name', subname, 'slot', coalesce(subslotname, ''), 'enabled', subenabled,
	'origin', suborigin, 'conninfo', subconninfo) ORDER BY subname), '[]')
FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`

// extensionSQL reads the catalogs of pglogical, and of Spock, which has them from there: %[1]s
// is the schema.
const extensionSQL = `SELECT jsonb_build_object(
	'node', (SELECT n.node_name FROM %[1]s.local_node l JOIN %[1]s.node n ON n.node_id = l.node_id),
	'subscriptions', (SELECT coalesce(jsonb_agg(jsonb_build_object(
		'name', s.sub_name, 'slot', s.sub_slot_name, 'enabled', s.sub_enabled,
		'origin', CASE WHEN coalesce(array_length(s.sub_forward_origins, 1), 0) = 0 THEN 'none' ELSE 'any' END,
		'conninfo', i.if_dsn) ORDER BY s.sub_name), '[]')
	FROM %[1]s.subscription s JOIN %[1]s.local_node l ON l.node_id = s.sub_target
	JOIN %[1]s.node_interface i ON i.if_id = s.sub_origin_if))`

const slotsSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object(
	'name', s.slot_name, 'plugin', s.plugin,
	'application', coalesce(r.application_name, ''), 'client', coalesce(host(r.client_addr), '')) ORDER BY s.slot_name), '[]')
FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
WHERE s.slot_type = 'logical' AND s.database = current_database() AND NOT s.temporary`

// read asks the server at the other end of a connection string.
func read(ctx context.Context, dsn params) (server, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s, err := postgres.Open("", dsn.String())
	if err != nil {
		// The name is not known yet: what is wrong with the string is.
		return server{}, errors.New(strings.TrimPrefix(err.Error(), "dsn of node : "))
	}
	defer s.Close()
	var out server
	if err := s.JSON(ctx, &out, whoSQL); err != nil {
		return server{}, err
	}
	if err := out.fit(); err != nil {
		return server{}, err
	}
	if out.engine() != config.EngineNative {
		var p struct {
			Node          string         `json:"node"`
			Subscriptions []subscription `json:"subscriptions"`
		}
		if err := s.JSON(ctx, &p, fmt.Sprintf(extensionSQL, out.engine())); err != nil {
			return server{}, err
		}
		out.NodeName, out.Subscriptions = p.Node, p.Subscriptions
	} else if err := s.JSON(ctx, &out.Subscriptions, subscriptionsSQL); err != nil {
		return server{}, err
	}
	return out, s.JSON(ctx, &out.Slots, slotsSQL)
}

// engine is what replicates on the server: subscriptions of PostgreSQL's own count before
// an extension, which may be there for something else.
func (s server) engine() config.Engine {
	for _, e := range []config.Engine{config.EnginePglogical, config.EngineSpock} {
		if !s.Subscribes && slices.Contains(s.Engines, string(e)) {
			return e
		}
	}
	return config.EngineNative
}

// fit refuses a server from which nothing can be learned.
func (s server) fit() error {
	fault := func(code, hint, format string, args ...any) error {
		return &topology.Fault{Code: code, Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case s.InRecovery:
		return fault("in_recovery", "name its primary", "it is a standby")
	case s.engine() != config.EngineNative && s.Version < minExtension:
		return fault("version_unfit", fmt.Sprintf("healer needs PostgreSQL 15 or later on every node of %s", s.engine()), "it runs PostgreSQL %d.%d", s.Version/10000, s.Version%10000)
	case s.engine() != config.EngineNative && !s.Super:
		return fault("not_superuser", "ALTER ROLE "+postgres.Ident(s.Role)+" SUPERUSER, or name one that is",
			"role %s is no superuser, as whoever administers %s has to be", s.Role, s.engine())
	case s.engine() != config.EngineNative:
		return nil
	case s.Version < minVersion:
		return fault("version_unfit", "healer needs PostgreSQL 16 or later on every node", "it runs PostgreSQL %d.%d", s.Version/10000, s.Version%10000)
	case !s.Readable:
		return fault("conninfo_unreadable",
			fmt.Sprintf("as a superuser run in database %s of every node: GRANT SELECT (subconninfo) ON pg_catalog.pg_subscription TO %s;",
				postgres.Ident(s.Database), postgres.Ident(s.Role)),
			"role %s may not read pg_subscription.subconninfo, which tells where its subscriptions lead", s.Role)
	}
	return nil
}
