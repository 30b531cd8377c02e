package native

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres/engine"
	"healer/topology"
)

// TestReplicas has tables sent whole, in part by columns, in part by rows of one and
// of two publications, and one that is not sent at all.
func TestReplicas(t *testing.T) {
	mesh := pgtest.Mesh(t, localpg.Options{Nodes: 2, Tables: []string{"kv"}, Schema: []string{
		"CREATE TABLE kv (k bigint PRIMARY KEY, v text)",
		"CREATE TABLE part (k bigint PRIMARY KEY, v text, w text)",
		"CREATE TABLE local (k bigint PRIMARY KEY)",
		`CREATE TABLE "Few" (k bigint PRIMARY KEY)`,
	}})
	exec(t, mesh.Node("n1"), `CREATE PUBLICATION small FOR TABLE part (k, v) WHERE (k > 0), "Few" WHERE (k < 5)`)
	exec(t, mesh.Node("n1"), `CREATE PUBLICATION more FOR TABLE "Few" WHERE (k > 9)`)
	exec(t, mesh.Node("n2"), "ALTER SUBSCRIPTION "+localpg.SubscriptionName("n2", "n1")+" SET PUBLICATION "+localpg.Publication+", small, more")
	e := engineOf(t, mesh, nil)
	subscribed(t, e, "n2", "n1")
	want := []engine.Replica{
		{TableName: topology.TableName{Schema: "public", Name: "Few"}, Filter: "(k < 5) OR (k > 9)"},
		{TableName: topology.TableName{Schema: "public", Name: "kv"}},
		{TableName: topology.TableName{Schema: "public", Name: "part"}, Columns: []string{"k", "v"}, Filter: "(k > 0)"},
	}
	var got []engine.Replica
	within(t, "the new tables are copied", func() bool {
		var err error
		got, err = e.Replicas(t.Context(), "n2", "n1")
		try(t, err)
		return len(got) >= len(want)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
