package enginetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"healer/internal/localpg"
	"healer/postgres/engine"
	"healer/topology"
)

// discovers: nodes, subscriptions with their origins and slots, and tables are told by the
// catalogs alone.
func discovers(r rig) {
	r.exec("n1", "INSERT INTO kv VALUES (1, 'a')")
	r.caughtUp()
	o := r.e.ObserveAll(r.Context())
	if diff := cmp.Diff(r.mesh.Names(), o.Names()); diff != "" || o.Cluster != "test" {
		r.Fatal(diff)
	}
	ids := make(map[uint64]string)
	for _, n := range o.Nodes {
		if !n.Reachable || n.Version/10000 != r.mesh.Node(n.Name).Major() || n.InRecovery || n.Flushed == 0 {
			r.Fatalf("%s: %+v", n.Name, n)
		}
		if other, twice := ids[n.Identity.SystemID]; twice || !n.Identity.Known() || n.Identity.StartedAt == 0 || n.Identity.Timeline != 1 {
			r.Errorf("%s: identity %+v, also of %q", n.Name, n.Identity, other)
		}
		ids[n.Identity.SystemID] = n.Name
		for _, f := range n.Findings {
			r.Errorf("%s: a good mesh has no finding: %+v", n.Name, f)
		}
		for _, peer := range o.Names() {
			if peer != n.Name {
				r.knows(n, peer)
			}
		}
	}
	n2, _ := o.Node("n2")
	if sub, _ := n2.From("n1"); sub.Progress == 0 {
		r.Error("n2 has applied a transaction of n1")
	}
}

// knows checks what a node is known to have of a peer.
func (r rig) knows(n topology.NodeState, peer string) {
	r.Helper()
	sub, ok := n.From(peer)
	if !ok || sub.Name != localpg.SubscriptionName(n.Name, peer) || !sub.Enabled || sub.ID == 0 || sub.Origin == "" ||
		sub.Slot != r.mesh.Slot(peer, n.Name) || sub.Worker == topology.WorkerNone || len(sub.Publications) == 0 {
		r.Errorf("%s from %s: %+v, %v", n.Name, peer, sub, ok)
	}
	slot, ok := n.Slot(topology.SlotMesh, peer, "")
	if !ok || slot.Name != r.mesh.Slot(n.Name, peer) || slot.Confirmed == 0 {
		r.Errorf("%s: slot for %s: %+v, %v", n.Name, peer, slot, ok)
	}
	if m := engine.MemoryOf(n); m.Identity != n.Identity || m.Flushed != n.Flushed || m.Confirmed[peer] != slot.Confirmed {
		r.Errorf("memory of %s: %+v", n.Name, m)
	}
	want := []topology.TableName{{Schema: "public", Name: "kv"}}
	if tables, err := r.e.Tables(r.Context(), n.Name, sub); err != nil || !cmp.Equal(tables, want) {
		r.Errorf("%s receives %v from %s: %v", n.Name, tables, peer, err)
	}
	replicas, err := r.e.Replicas(r.Context(), n.Name, peer)
	if err != nil || !cmp.Equal(replicas, []engine.Replica{{TableName: want[0]}}) {
		r.Errorf("%s receives %+v from %s: %v", n.Name, replicas, peer, err)
	}
}

// authors: each row is known by the node that wrote it, and progress by the provider.
func authors(r rig) {
	ctx := r.Context()
	for i, from := range r.mesh.Names() {
		r.exec(from, "INSERT INTO kv VALUES ($1, $2)", 100+i, from)
	}
	r.exec("n1", "SELECT pg_replication_origin_create('healer:repair:n9')")
	r.caughtUp()
	authors, err := r.e.OriginMap(ctx, "n1")
	r.try(err)
	type row struct {
		V      string
		Origin uint32
	}
	rows, err := localpg.Rows(ctx, r.mesh.Node("n1"), pgx.RowToStructByPos[row],
		"SELECT v, (pg_xact_commit_timestamp_origin(xmin)).roident FROM kv WHERE k BETWEEN 100 AND 110")
	r.try(err)
	if len(rows) != 3 {
		r.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		want := row.V
		if want == "n1" {
			want = "" // its own
		}
		if got := authors[row.Origin]; got != want {
			r.Errorf("row of %s: origin %d is of %q", row.V, row.Origin, got)
		}
	}
	var all []string
	for _, a := range authors {
		all = append(all, a)
	}
	slices.Sort(all)
	if fmt.Sprint(slices.Compact(all)) != "[n2 n3 n9]" {
		r.Errorf("authors %v", all)
	}
	r.exec("n1", "SELECT pg_replication_origin_drop('healer:repair:n9')")
	name, err := r.e.SourceOrigin(ctx, "n1", "n2")
	r.try(err)
	if lsn, err := r.e.Progress(ctx, "n1", name, true); err != nil || lsn == 0 {
		r.Errorf("progress of %s: %v %v", name, lsn, err)
	}
	progress, err := r.e.ProgressAll(ctx, "n1")
	if err != nil || len(progress) != 2 || progress["n2"] == 0 || progress["n3"] == 0 {
		r.Errorf("progress %v %v", progress, err)
	}
}

// barrier: under load, everything committed before the barrier is at the other side
// after it, again and again.
func barrier(r rig) {
	ctx := r.Context()
	r.subscribed("n2", "n1")
	r.subscribed("n1", "n2")
	load, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := r.mesh.Node("n1").Connect(load)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for i := 0; load.Err() == nil; i++ {
			_, _ = conn.Exec(load, "INSERT INTO kv VALUES ($1, 'load')", 1_000_000+i)
		}
	}()
	defer func() { stop(); <-done }()
	for i := range 3 {
		r.exec("n1", "INSERT INTO kv VALUES ($1, 'before')", 200+i)
		r.try(r.e.Barrier(ctx, []engine.Pair{{From: "n1", To: "n2"}, {From: "n2", To: "n1"}}))
		if n := value[int](r, "n2", "SELECT count(*)::int FROM kv WHERE k = $1", 200+i); n != 1 {
			r.Fatalf("row %d was not there after the barrier", i)
		}
	}
}
