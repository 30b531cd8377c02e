package pglogical

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

func TestCommandsOfTheQueue(t *testing.T) {
	t.Parallel()
	sets := []string{"default", "ddl_sql"}
	for name, tc := range map[string]struct {
		kind, to, message string
		sql, stop         string
	}{
		"a truncate is in the log":    {"T", "{default}", `{"schema_name": "public", "table_name": "t"}`, "", ""},
		"a sequence is set forward":   {"S", "{default}", `{"schema_name": "a'b", "sequence_name": "s", "last_value": "42"}`, `greatest((SELECT last_value FROM "a'b"."s"), '42'::bigint)`, ""},
		"DDL is a person's":           {"Q", "{ddl_sql}", `"ALTER TABLE t ADD c int"`, "", "ALTER TABLE t ADD c int"},
		"so is a copy of a table":     {"A", "{default}", `{"schema_name": "public", "table_name": "t"}`, "", "copied anew"},
		"and what nobody knows":       {"Z", "{default}", `{}`, "", "unknown type"},
		"what is for others is not":   {"Q", `{other,"with, a comma"}`, `"DROP TABLE t"`, "", ""},
		"a set may have an odd name":  {"Q", `{"o\"dd",default}`, `"SELECT 1"`, "", "SELECT 1"},
		"what is for none is for all": {"Q", "{}", `"SELECT 1"`, "", "SELECT 1"},
		"what cannot be read stops":   {"S", "{default}", `nonsense`, "", "cannot be read"},
	} {
		c := Dialect{}.Command(map[string]string{"message_type": tc.kind, "replication_sets": tc.to, "message": tc.message, "role": "joe"}, sets)
		if !strings.Contains(c.SQL, tc.sql) || (tc.sql == "") != (c.SQL == "") || !strings.Contains(c.Stop, tc.stop) || (tc.stop == "") != (c.Stop == "") || (c.Stop != "") != (c.By != "") {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// A mesh is read for what it is set to: what stands in a healing's way is told with the SQL
// that mends it, and how conflicts end is taken from the servers.
func TestSettingsOfTheMesh(t *testing.T) {
	t.Parallel()
	mesh := pgtest.Mesh(t, localpg.Options{Engine: localpg.Pglogical, Nodes: 2, Schema: []string{"CREATE TABLE kv (k bigint PRIMARY KEY, v text, w int)"}})
	ctx := t.Context()
	exec := func(node, sql string) {
		t.Helper()
		if _, err := mesh.Node(node).Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %s: %v", node, sql, err)
		}
	}
	open := func(role string) *engine.Engine {
		servers := map[string]*postgres.Server{}
		for _, n := range mesh.Nodes() {
			s, err := postgres.Open(n.Name(), n.DSN()+role)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			servers[n.Name()] = s
		}
		e := New(engine.Options{Cluster: "test", Servers: servers, Log: slog.New(slog.DiscardHandler)})
		t.Cleanup(e.Close)
		return e
	}
	e := open("")

	words := map[string]string{"error": "stop", "apply_remote": "apply_remote", "keep_local": "keep_local", "last_update_wins": "last_update_wins", "first_update_wins": "first_update_wins"}
	for set, want := range words {
		for _, n := range mesh.Names() {
			exec(n, "ALTER SYSTEM SET pglogical.conflict_resolution = '"+set+"'")
			exec(n, "SELECT pg_reload_conf()")
		}
		pgtest.Eventually(t, time.Minute, "the servers have read their configuration", func() error {
			if got, err := e.Conflicts(ctx, mesh.Names()...); err != nil || got != want {
				return fmt.Errorf("%s: conflicts end by %q: %w", set, got, err)
			}
			return nil
		})
	}
	last, err := e.Conflicts(ctx, "n1")
	if err != nil {
		t.Fatal(err)
	}
	exec("n2", "ALTER SYSTEM RESET pglogical.conflict_resolution")
	if last == "apply_remote" { // which is the default
		exec("n2", "ALTER SYSTEM SET pglogical.conflict_resolution = 'keep_local'")
	}
	exec("n2", "SELECT pg_reload_conf()")
	pgtest.Eventually(t, time.Minute, "nodes that differ are refused", func() error {
		_, err := e.Conflicts(ctx, mesh.Names()...)
		var f *topology.Fault
		if !errors.As(err, &f) || f.Code != "conflicts_differ" || f.Class != topology.Permanent {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})

	exec("n1", "UPDATE pglogical.subscription SET sub_forward_origins = '{all}'")
	f, ok := e.Observe(ctx, "n1").Blocked()
	if !ok || f.Code != "subscription_origin" || !strings.Contains(f.Detail, "{all}") {
		t.Fatalf("blocked by %+v %v", f, ok)
	}
	exec("n1", f.Remedy)
	if f, ok := e.Observe(ctx, "n1").Blocked(); ok {
		t.Errorf("still %+v", f)
	}

	// Two sets: a row has to pass both filters, and of the columns those are sent that either lists.
	exec("n1", `SELECT pglogical.replication_set_remove_table('default', 'kv');
		SELECT pglogical.replication_set_add_table('default', 'kv', columns := '{k,v}', row_filter := 'k > 10');
		SELECT pglogical.replication_set_add_table('default_insert_only', 'kv', columns := '{k,w}', row_filter := 'k < 20')`)
	kv := topology.TableName{Schema: "public", Name: "kv"}
	got, err := e.Replicas(ctx, "n2", "n1")
	want := []engine.Replica{{TableName: kv, Columns: []string{"k", "v", "w"}, Filter: "((k < 20)) AND ((k > 10))"}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("n2 receives %+v: %v", got, err)
	}
	filters, err := e.Filters(ctx, "n1", "n2", "n1")
	if err != nil || filters[kv] != want[0].Filter {
		t.Errorf("filters %v: %v", filters, err)
	}

	exec("n1", "CREATE ROLE nobody LOGIN")
	if f, ok := open(" user=nobody").Observe(ctx, "n1").Blocked(); !ok || f.Code != "engine_unread" || !strings.Contains(f.Remedy, "SUPERUSER") {
		t.Errorf("blocked by %+v %v", f, ok)
	}
}
