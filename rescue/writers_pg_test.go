package rescue

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

// TestCommitsUnderAnIDWithoutAnOrigin has a laggard on which the lost node's
// transactions were applied under an id that no origin has, as Spock does: they are
// the lost node's, for the doubt about the one at the progress and for conflicts.
func TestCommitsUnderAnIDWithoutAnOrigin(t *testing.T) {
	server := pgtest.Server(t, localpg.ServerOptions{})
	connect := func() *pgconn.PgConn {
		conn, err := pgconn.Connect(t.Context(), server.DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		return conn
	}
	exec := func(sql string) string {
		t.Helper()
		got, err := connect().Exec(t.Context(), sql).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		last := got[len(got)-1]
		if len(last.Rows) == 0 {
			return ""
		}
		return string(last.Rows[0][0])
	}
	id := exec(`CREATE TABLE kv (k int PRIMARY KEY);
		SELECT pg_replication_origin_create('spk_app_n1_s'); SELECT pg_replication_origin_create('of the node')`)
	micros := int64(830825767884005)
	exec(`SELECT pg_replication_origin_session_setup('of the node');
		BEGIN; SELECT pg_replication_origin_xact_setup('0/100', '` + timestamp(micros) + `'); INSERT INTO kv VALUES (1); COMMIT;
		SELECT pg_replication_origin_session_reset(); SELECT pg_replication_origin_drop('of the node')`)
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	writer := topology.WriterName(uint32(n))
	for name, c := range map[string]struct {
		authors   map[string]string
		committed bool
	}{
		"known":   {map[string]string{"spk_app_n1_s": "n1", writer: "n1"}, true},
		"unknown": {map[string]string{"spk_app_n1_s": "n1"}, false},
		"another": {map[string]string{"spk_app_n1_s": "n1", writer: "n2"}, false},
	} {
		var s *Session
		pgtest.Eventually(t, time.Minute, "the session before has ended", func() (err error) {
			s, err = NewSession(t.Context(), connect(), Target{Node: "n3", Origin: "n1", OriginName: "spk_app_n1_s", Authors: c.authors})
			return err
		})
		if got, err := s.committed(t.Context(), micros, 1); err != nil || got != c.committed {
			t.Errorf("%s: committed is %v, %v; want %v", name, got, err, c.committed)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	taken := exec(`SELECT roident FROM pg_replication_origin WHERE roname = 'spk_app_n1_s'`)
	_, err = readAuthors(t.Context(), connect(), "n3", map[string]string{"spk_app_n1_s": "n1", "#" + taken: "n2"})
	var f *topology.Fault
	if !errors.As(err, &f) || f.Code != "origin_ambiguous" || !strings.Contains(err.Error(), taken) {
		t.Errorf("an id with two meanings: %v, want a fault origin_ambiguous", err)
	}
}
