package spock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/postgres/spock"
	"healer/topology"
)

var shared pgtest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// The ids of the nodes.
const (
	idN1 = 49676
	idN2 = 54967
	idN3 = 51220
)

// standin is a database with the stand-in of Spock's catalogs, as node n2 of a mesh of
// n1, n2 and n3 has them. n1 and n3 are not there to be asked.
type standin struct {
	*testing.T
	server *localpg.Server
	dsn    string
	conn   *pgx.Conn
	engine *engine.Engine
	// origin is that of the subscription to n1. The id of n1 is in commits and in the
	// progress of origins, and has no row in pg_replication_origin.
	origin string
}

// newStandin has the catalogs of Spock 5 or 6.
func newStandin(t *testing.T, major int) *standin {
	t.Helper()
	s := &standin{T: t}
	s.server, s.dsn = shared.Database(t)
	var err error
	if s.conn, err = pgx.Connect(t.Context(), s.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close(context.WithoutCancel(t.Context())) })
	for _, file := range []string{"testdata/standin.sql", fmt.Sprintf("testdata/standin%d.sql", major)} {
		sql, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s.exec(string(sql))
	}
	s.exec(`CREATE TABLE kv (k bigint PRIMARY KEY, v text, own text); CREATE TABLE log (v text);
		CREATE TABLE p (k int PRIMARY KEY) PARTITION BY RANGE (k); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
		CREATE TABLE apart (k int PRIMARY KEY)`)
	s.phantom()
	db := s.conn.Config().Database
	s.origin = "spk_" + db + "_n1_sub_n2_n1"
	nowhere := "host=127.0.0.1 port=1 dbname=app"
	s.exec(fmt.Sprintf(`
		INSERT INTO spock.node VALUES (%[1]d, 'n1'), (%[2]d, 'n2'), (%[3]d, 'n3');
		INSERT INTO spock.node_interface VALUES (1, 'n1', %[1]d, '%[4]s user=n1'), (2, 'n2', %[2]d, 'here'), (3, 'n3', %[3]d, '%[4]s port=2 user=n3');
		INSERT INTO spock.local_node VALUES (%[2]d, 2);
		INSERT INTO spock.replication_set VALUES (11, %[2]d, 'default'), (13, %[2]d, 'ddl_sql'), (14, %[2]d, 'apart');
		INSERT INTO spock.replication_set VALUES (12, %[2]d, 'default_insert_only', true, false, false, true);
		INSERT INTO spock.replication_set_table VALUES (11, 'kv', '{k,v}'), (12, 'log', NULL), (11, 'p', NULL), (11, 'p1', NULL), (14, 'apart', NULL);
		INSERT INTO spock.subscription (sub_id, sub_name, sub_origin, sub_target, sub_origin_if, sub_target_if, sub_slot_name, sub_replication_sets, sub_forward_origins)
		VALUES (4000000001, 'sub_n2_n1', %[1]d, %[2]d, 1, 2, '%[5]s', '{default,default_insert_only,ddl_sql}', '{}'),
			(7, 'sub_n2_n3', %[3]d, %[2]d, 3, 2, 'spk_%[6]s_n3_sub_n2_n3', '{default,default_insert_only,ddl_sql}', NULL);
		SELECT pg_replication_origin_create('%[5]s'), pg_replication_origin_create('spk_%[6]s_n3_sub_n2_n3')`,
		idN1, idN2, idN3, nowhere, s.origin, db))
	t.Cleanup(func() {
		s.exec(`SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin
			WHERE roname LIKE '%' || current_database() || '%' OR roname LIKE 'healer%'`)
	})
	s.open(map[string]string{"n1": nowhere, "n2": s.dsn, "n3": nowhere + " port=2"})
	return s
}

// phantom makes the id of n1 have progress and a commit but no row in
// pg_replication_origin, as on a server that recovered from a crash under Spock.
func (s *standin) phantom() {
	s.Helper()
	row := fmt.Sprintf(`INSERT INTO pg_replication_origin VALUES (%d, 'phantom')`, idN1)
	s.exec(row + `; SELECT pg_replication_origin_session_setup('phantom');
		BEGIN; SELECT pg_replication_origin_xact_setup('0/300', '2026-01-02 03:04:05.000006Z');
		INSERT INTO kv VALUES (1, 'n1'); COMMIT; SELECT pg_replication_origin_session_reset();
		DELETE FROM pg_replication_origin WHERE roname = 'phantom'`)
	s.Cleanup(func() {
		// With its row back the server can forget the progress.
		s.exec(row)
		s.exec(`SELECT pg_replication_origin_drop('phantom')`)
	})
}

func (s *standin) open(dsns map[string]string) {
	s.Helper()
	servers := make(map[string]*postgres.Server)
	for name, dsn := range dsns {
		server, err := postgres.Open(name, dsn)
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(server.Close)
		servers[name] = server
	}
	s.engine = spock.New(engine.Options{Cluster: "test", Servers: servers, Log: slog.New(slog.DiscardHandler)})
	s.Cleanup(s.engine.Close)
}

func (s *standin) exec(sql string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), time.Minute)
	defer cancel()
	if _, err := s.conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
}

func (s *standin) text(sql string) string {
	s.Helper()
	var v string
	if err := s.conn.QueryRow(s.Context(), sql).Scan(&v); err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (s *standin) number(sql string) int64 {
	s.Helper()
	n, err := strconv.ParseInt(s.text("SELECT ("+sql+")::text"), 10, 64)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// observed reads n2.
func (s *standin) observed() topology.NodeState {
	s.Helper()
	n := s.engine.Observe(s.Context(), "n2")
	if !n.Reachable {
		s.Fatalf("n2 is not reachable: %s", n.Problem)
	}
	return n
}

// from is n2's subscription to a provider.
func (s *standin) from(provider string) topology.Subscription {
	s.Helper()
	sub, ok := s.observed().From(provider)
	if !ok {
		s.Fatalf("n2 is not known to read from %s: %+v", provider, s.observed())
	}
	return sub
}

// bothVersions runs a test with the catalogs of Spock 5 and of Spock 6.
func bothVersions(t *testing.T, test func(*standin, int)) {
	t.Helper()
	for _, major := range []int{5, 6} {
		t.Run(fmt.Sprintf("Spock %d", major), func(t *testing.T) { test(newStandin(t, major), major) })
	}
}

func wantFault(t *testing.T, err error, class topology.Class, code string) {
	t.Helper()
	var f *topology.Fault
	if !errors.As(err, &f) || f.Class != class || f.Code != code {
		t.Errorf("got %v, want a %v fault %s", err, class, code)
	}
}
