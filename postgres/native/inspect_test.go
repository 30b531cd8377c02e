package native

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// inspected is what is known of a node's tables for a recovery of n3.
func inspected(t *testing.T, e *engine.Engine, node string) *topology.Schema {
	t.Helper()
	seen := e.ObserveAll(t.Context())
	for _, n := range seen.Nodes {
		for i := range n.Subscriptions {
			if n.Name == "n2" {
				n.Subscriptions[i].Progress = 1 // it lags: n1 may be its source
			}
		}
	}
	obs, err := e.Inspect(t.Context(), seen, "n3")
	try(t, err)
	n, _ := obs.Node(node)
	if n.Schema == nil {
		t.Fatalf("nothing is known of the tables of %s", node)
	}
	return n.Schema
}

func tableNamed(tables []topology.Table, name string) (topology.Table, bool) {
	i := slices.IndexFunc(tables, func(t topology.Table) bool { return t.Name == name })
	if i < 0 {
		return topology.Table{}, false
	}
	return tables[i], true
}

// What joins a publication while a slot stands still decodes to nothing from
// there, and is told; when the slot has passed that, it is decoded.
func TestTablesThatJoinLate(t *testing.T) {
	mesh := pgtest.Mesh(t, localpg.Options{
		Schema: []string{"CREATE TABLE kv (k bigint PRIMARY KEY, v text); CREATE TABLE late (k int PRIMARY KEY, g int GENERATED ALWAYS AS (k * 2) STORED)"},
		Tables: []string{"kv"},
	})
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	known(t, e, mesh)
	try(t, e.CreateSeed(ctx, "n1", "n2"))
	try(t, e.Promote(ctx, "n1", "n2"))
	slot := topology.RecoverySlotName("app", "n1", "n2")
	if s := inspected(t, e, "n1"); len(s.Younger[slot]) > 0 {
		t.Fatalf("%v are younger than a slot that was made after them", s.Younger[slot])
	}

	refresh := func(node, provider string) {
		exec(t, mesh.Node(node), "ALTER SUBSCRIPTION "+localpg.SubscriptionName(node, provider)+" REFRESH PUBLICATION WITH (copy_data = false)")
	}
	exec(t, mesh.Node("n3"), "ALTER PUBLICATION mesh ADD TABLE late")
	refresh("n1", "n3")
	refresh("n2", "n3")
	s1, s2 := inspected(t, e, "n1"), inspected(t, e, "n2")
	if _, ok := tableNamed(s2.Receives, "late"); !ok {
		t.Errorf("n2 receives %v", s2.Receives)
	}
	if _, ok := tableNamed(s1.Publishes["n2"], "late"); ok {
		t.Errorf("n1 publishes %v", s1.Publishes["n2"])
	}

	// n1 has a transaction of n3's from before its own publication follows.
	exec(t, mesh.Node("n3"), "INSERT INTO late VALUES (1); INSERT INTO kv VALUES (1, 'a')")
	try(t, mesh.WaitCaughtUp(ctx))
	exec(t, mesh.Node("n1"), "ALTER PUBLICATION mesh ADD TABLE late")
	s1 = inspected(t, e, "n1")
	late, ok := tableNamed(s1.Publishes["n2"], "late")
	want := []topology.Column{{Name: "k", Type: "integer", Category: "N"}}
	if !ok || !cmp.Equal(late.Columns, want) {
		t.Errorf("n1 publishes %v", s1.Publishes["n2"])
	}
	if got := s1.Younger[slot]; !cmp.Equal(got, []topology.TableName{{Schema: "public", Name: "late"}}) {
		t.Errorf("younger than the slot: %v", got)
	}
	decoded := func(table string) int64 {
		t.Helper()
		return value[int64](t, mesh.Node("n1"), `SELECT count(*) FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL,
			'proto_version', '1', 'publication_names', 'mesh', 'origin', 'any') WHERE get_byte(data, 0) = ascii('R')
			AND position(convert_to($2, 'UTF8') IN data) > 0`, slot, table)
	}
	if n := decoded("kv"); n == 0 {
		t.Error("the slot does not hold the transaction")
	}
	if n := decoded("late"); n != 0 {
		t.Errorf("%d changes of a table that joined later are decoded: there is nothing to refuse", n)
	}

	// The slot moves on, as the keeper moves it.
	within(t, "the slot has passed the change", func() bool {
		try(t, e.StandbySnapshot(ctx, "n1"))
		at, err := e.FlushedLSN(ctx, "n1")
		try(t, err)
		_, err = e.AdvanceSlot(ctx, "n1", slot, at)
		try(t, err)
		return len(inspected(t, e, "n1").Younger[slot]) == 0
	})
	exec(t, mesh.Node("n3"), "INSERT INTO late VALUES (2)")
	try(t, mesh.WaitCaughtUp(ctx))
	if n := decoded("late"); n != 1 {
		t.Errorf("%d changes of the table are decoded, want 1", n)
	}

	// What a laggard lacks is read too, and who is at a recovery of n3.
	exec(t, mesh.Node("n2"), "ALTER TABLE kv DROP COLUMN v; DROP TABLE late")
	conn, err := mesh.Node("n2").Connect(ctx)
	try(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, "SELECT pg_advisory_lock($1)", topology.RecoveryLock("n3"))
	try(t, err)
	obs, err := e.Inspect(ctx, e.ObserveAll(ctx), "n3")
	try(t, err)
	n2, _ := obs.Node("n2")
	if !cmp.Equal(n2.Applying, []string{"n3"}) {
		t.Errorf("recoveries under way on n2: %v", n2.Applying)
	}
	kv, _ := tableNamed(n2.Schema.Receives, "kv")
	late, _ = tableNamed(n2.Schema.Receives, "late")
	if _, has := kv.Column("v"); has || kv.Missing || !late.Missing {
		t.Errorf("n2 receives %+v", n2.Schema.Receives)
	}
	if n1, _ := obs.Node("n1"); len(n1.Applying) > 0 {
		t.Errorf("recoveries under way on n1: %v", n1.Applying)
	}
}

// A stranger's DDL on the source that is left open does not hold up who looks at the
// tables for a plan: it is named, and once it is gone the tables are read.
func TestInspectNamesWhoLocksATable(t *testing.T) {
	mesh := ownMesh(t, false)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	known(t, e, mesh)
	seen := e.ObserveAll(ctx)
	for _, n := range seen.Nodes {
		for i := range n.Subscriptions {
			// n2 lags: n1 may be its source.
			n.Subscriptions[i].Progress = map[string]topology.LSN{"n1": 2, "n2": 1}[n.Name]
		}
	}
	stranger, err := mesh.Node("n1").Connect(ctx)
	try(t, err)
	defer func() { _ = stranger.Close(context.WithoutCancel(ctx)) }()
	_, err = stranger.Exec(ctx, "SET application_name = 'migration'; BEGIN; ALTER TABLE kv ADD COLUMN w text")
	try(t, err)
	_, err = e.Inspect(ctx, seen, "n3")
	pid := fmt.Sprint(stranger.PgConn().PID())
	var f *topology.Fault
	if !errors.As(err, &f) || f.Class != topology.Transient || f.Code != postgres.CodeLocked || f.Node != "n1" ||
		!strings.Contains(f.Hint, "pg_terminate_backend("+pid+")") || !strings.Contains(f.Error(), "public.kv") || !strings.Contains(f.Error(), "migration") {
		t.Fatalf("session %s is not named: %v, %+v", pid, err, f)
	}
	_, err = stranger.Exec(ctx, "ROLLBACK")
	try(t, err)
	if _, err = e.Inspect(ctx, seen, "n3"); err != nil {
		t.Errorf("the lock is gone: %v", err)
	}
}
