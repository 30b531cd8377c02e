package discover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"healer/postgres"
	"healer/topology"
)

const (
	// within bounds what one server is asked.
	within = 10 * time.Second
	// minVersion is the first server with subscriptions of origin = none.
	minVersion = 160000
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
	'readable', has_column_privilege('pg_subscription', 'subconninfo', 'SELECT'),
	'engines', (SELECT coalesce(jsonb_agg(extname ORDER BY extname), '[]') FROM pg_extension
		WHERE extname IN ('pglogical', 'spock', 'bdr')))`

const subscriptionsSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object(
	'name', subname, 'slot', coalesce(subslotname, ''), 'enabled', subenabled,
	'origin', suborigin, 'conninfo', subconninfo) ORDER BY subname), '[]')
FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`

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
	if err := s.JSON(ctx, &out.Subscriptions, subscriptionsSQL); err != nil {
		return server{}, err
	}
	return out, s.JSON(ctx, &out.Slots, slotsSQL)
}

// fit refuses a server from which nothing can be learned.
func (s server) fit() error {
	fault := func(code, hint, format string, args ...any) error {
		return &topology.Fault{Code: code, Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case s.InRecovery:
		return fault("in_recovery", "name its primary", "it is a standby")
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
