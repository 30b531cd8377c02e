package native

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"healer/internal/localpg"
)

func TestOriginMapNamesAuthors(t *testing.T) {
	mesh := ownMesh(t, true)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	subscribed(t, e, "n1", "n2")
	subscribed(t, e, "n1", "n3")
	for _, from := range mesh.Names() {
		exec(t, mesh.Node(from), "INSERT INTO kv VALUES ($1, $2)", int(from[1]), from)
	}
	exec(t, mesh.Node("n1"), "SELECT pg_replication_origin_create('healer:repair:n9')")
	try(t, mesh.WaitCaughtUp(ctx))
	authors, err := e.OriginMap(ctx, "n1")
	try(t, err)
	type row struct {
		V      string
		Origin uint32
	}
	rows, err := localpg.Rows(ctx, mesh.Node("n1"), pgx.RowToStructByPos[row], "SELECT v, (pg_xact_commit_timestamp_origin(xmin)).roident FROM kv")
	try(t, err)
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		want := r.V
		if want == "n1" {
			want = "" // its own
		}
		if got := authors[r.Origin]; got != want {
			t.Errorf("row of %s: origin %d is of %q", r.V, r.Origin, got)
		}
	}
	var all []string
	for _, a := range authors {
		all = append(all, a)
	}
	slices.Sort(all)
	if fmt.Sprint(slices.Compact(all)) != "[n2 n3 n9]" {
		t.Errorf("authors %v", all)
	}
	name, err := e.SourceOrigin(ctx, "n1", "n2")
	try(t, err)
	if lsn, err := e.Progress(ctx, "n1", name, true); err != nil || lsn == 0 {
		t.Errorf("progress of %s: %v %v", name, lsn, err)
	}
	progress, err := e.ProgressAll(ctx, "n1")
	if err != nil || len(progress) != 2 || progress["n2"] == 0 || progress["n3"] == 0 {
		t.Errorf("progress %v %v", progress, err)
	}
}
