package native

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres/engine"
	"healer/topology"
)

func ensured(t *testing.T, e *engine.Engine, node string, want bool) {
	t.Helper()
	changed, err := e.EnsurePublication(t.Context(), node)
	if err != nil || changed != want {
		t.Fatalf("%s: changed %v, %v; want %v", node, changed, err, want)
	}
}

// known waits until the engine knows who every subscription reads from.
func known(t *testing.T, e *engine.Engine, mesh *localpg.Mesh) {
	t.Helper()
	for _, node := range mesh.Names() {
		for _, peer := range mesh.Names() {
			if node != peer {
				subscribed(t, e, node, peer)
			}
		}
	}
}

// inPublication lists what a node's publication holds.
func inPublication(t *testing.T, mesh *localpg.Mesh, node, name string) []string {
	t.Helper()
	got, err := localpg.Column[string](t.Context(), mesh.Node(node),
		"SELECT tablename || coalesce(' WHERE ' || rowfilter, '') FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1", name)
	try(t, err)
	return got
}

func TestMeshPublicationsThatDoAreUsed(t *testing.T) {
	mesh := sharedMesh(t)
	e := engineOf(t, mesh, nil)
	known(t, e, mesh)
	ensured(t, e, "n1", false)
	pubs, err := e.Publications(t.Context(), "n1", "n2", "n3")
	if err != nil || !cmp.Equal(pubs, []string{localpg.Publication}) {
		t.Errorf("publications %v, %v", pubs, err)
	}
	sub := subscribed(t, e, "n2", "n3")
	tables, err := e.Tables(t.Context(), "n2", sub)
	if err != nil || !cmp.Equal(tables, []topology.TableName{{Schema: "public", Name: "kv"}}) {
		t.Errorf("tables %v, %v", tables, err)
	}
}

// A mesh whose nodes publish part of each row, tables without a key, and a
// partitioned table by its root.
func filteredMesh(t *testing.T) *localpg.Mesh {
	t.Helper()
	mesh := pgtest.Mesh(t, localpg.Options{
		Schema: []string{
			`CREATE TABLE kv (k bigint PRIMARY KEY, v text, secret text);
			CREATE TABLE log (line text);
			CREATE TABLE "Odd ""name" (id int PRIMARY KEY);
			CREATE TABLE parts (k int, at date, PRIMARY KEY (k, at)) PARTITION BY RANGE (at);
			CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM ('2000-01-01') TO ('2010-01-01');
			CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM ('2010-01-01') TO ('2020-01-01');
			CREATE TABLE private (k int PRIMARY KEY)`,
		},
		Tables: []string{"log", `"Odd ""name"`, "parts"},
	})
	for _, n := range mesh.Nodes() {
		exec(t, n, `ALTER PUBLICATION mesh SET (publish_via_partition_root = true)`)
		exec(t, n, `ALTER PUBLICATION mesh ADD TABLE kv (k, v) WHERE (k > 10)`)
	}
	for _, node := range mesh.Names() {
		for _, peer := range mesh.Names() {
			if node != peer {
				exec(t, mesh.Node(node), "ALTER SUBSCRIPTION "+localpg.SubscriptionName(node, peer)+" REFRESH PUBLICATION WITH (copy_data = false)")
			}
		}
	}
	return mesh
}

func TestOwnPublicationWhereTheMeshsHoldSomethingBack(t *testing.T) {
	mesh := filteredMesh(t)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	known(t, e, mesh)
	_, err := e.Publications(ctx, "n1", "n2", "n3")
	wantFault(t, err, topology.Permanent, "no_publication")

	ensured(t, e, "n1", true)
	ensured(t, e, "n1", false)
	if got := inPublication(t, mesh, "n1", pubAll); !cmp.Equal(got, []string{`Odd "name`, "kv WHERE (k > 10)", "parts"}) {
		t.Errorf("%s has %q", pubAll, got)
	}
	if got := inPublication(t, mesh, "n1", pubInserts); !cmp.Equal(got, []string{"log"}) {
		t.Errorf("%s has %q", pubInserts, got)
	}
	cols := value[[]string](t, mesh.Node("n1"), "SELECT attnames::text[] FROM pg_publication_tables WHERE pubname = $1 AND tablename = 'kv'", pubAll)
	if !cmp.Equal(cols, []string{"k", "v"}) {
		t.Errorf("columns %v", cols)
	}
	pubs, err := e.Publications(ctx, "n1", "n2", "n3")
	if err != nil || !cmp.Equal(pubs, []string{pubAll, pubInserts}) {
		t.Errorf("publications %v, %v", pubs, err)
	}
	// What it must never do: break a statement of the user's.
	for _, sql := range []string{
		"INSERT INTO private VALUES (1)", "UPDATE private SET k = 2", "DELETE FROM private",
		"INSERT INTO kv VALUES (11, 'a', 's')", "UPDATE kv SET v = 'b'", "DELETE FROM kv",
		"INSERT INTO parts VALUES (1, '2001-01-01')", "UPDATE parts SET k = 2", "DELETE FROM parts",
	} {
		exec(t, mesh.Node("n1"), sql)
	}
}

func TestOwnPublicationFollowsTheMesh(t *testing.T) {
	mesh := filteredMesh(t)
	e := engineOf(t, mesh, nil)
	known(t, e, mesh)
	ensured(t, e, "n1", true)
	refresh := func() {
		t.Helper()
		for _, node := range mesh.Names() {
			for _, peer := range mesh.Names() {
				if node != peer {
					exec(t, mesh.Node(node), "ALTER SUBSCRIPTION "+localpg.SubscriptionName(node, peer)+" REFRESH PUBLICATION WITH (copy_data = false)")
				}
			}
		}
	}
	for _, n := range mesh.Nodes() {
		exec(t, n, "ALTER PUBLICATION mesh DROP TABLE log; ALTER PUBLICATION mesh ADD TABLE private")
	}
	refresh()
	ensured(t, e, "n1", true)
	if got := inPublication(t, mesh, "n1", pubAll); !slices.Contains(got, "private") {
		t.Errorf("%s has %q", pubAll, got)
	}
	if got := inPublication(t, mesh, "n1", pubInserts); len(got) > 0 {
		t.Errorf("%s has %q", pubInserts, got)
	}
	// A table that loses its key must not lose its updates here.
	exec(t, mesh.Node("n1"), "ALTER TABLE private DROP CONSTRAINT private_pkey")
	ensured(t, e, "n1", true)
	if got := inPublication(t, mesh, "n1", pubInserts); !cmp.Equal(got, []string{"private"}) {
		t.Errorf("%s has %q", pubInserts, got)
	}
	// With an author gone, nothing is known to be superfluous.
	before := inPublication(t, mesh, "n1", pubAll)
	try(t, mesh.Kill(context.WithoutCancel(t.Context()), "n3"))
	ensured(t, e, "n1", false)
	if got := inPublication(t, mesh, "n1", pubAll); !cmp.Equal(got, before) {
		t.Errorf("%q, before %q", got, before)
	}
	pubs, err := e.Publications(t.Context(), "n1", "n2", "n3")
	if err != nil || !slices.Contains(pubs, pubAll) {
		t.Errorf("publications %v, %v", pubs, err)
	}
}

func TestPublicationsThatDifferAreAFault(t *testing.T) {
	mesh := filteredMesh(t)
	e := engineOf(t, mesh, nil)
	known(t, e, mesh)
	exec(t, mesh.Node("n3"), "ALTER PUBLICATION mesh DROP TABLE kv; ALTER PUBLICATION mesh ADD TABLE kv (k, v) WHERE (k > 20)")
	_, err := e.EnsurePublication(t.Context(), "n1")
	wantFault(t, err, topology.Permanent, "publications_differ")
	if n := value[int](t, mesh.Node("n1"), fmt.Sprintf("SELECT count(*)::int FROM pg_publication WHERE pubname = '%s'", pubAll)); n != 0 {
		t.Error("made one all the same")
	}
}
