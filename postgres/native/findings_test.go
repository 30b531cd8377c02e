package native

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

func codes(n topology.NodeState) []string {
	var codes []string
	for _, f := range n.Findings {
		codes = append(codes, f.Code)
	}
	return codes
}

func TestFindingsOfSettings(t *testing.T) {
	conf := map[string]string{
		"wal_level": "replica", "track_commit_timestamp": "off", "max_slot_wal_keep_size": "64MB",
		"max_replication_slots": "2", "max_wal_senders": "1",
	}
	major := pgtest.Major(t)
	if major >= 18 {
		conf["idle_replication_slot_timeout"] = "60"
		conf["max_active_replication_origins"] = "1"
	}
	server := pgtest.Server(t, localpg.ServerOptions{Conf: conf})
	dsns := map[string]string{"n1": server.DSN()}
	for i := range 3 {
		dsns[fmt.Sprintf("peer%d", i)] = "host=127.0.0.1 port=1 dbname=app"
	}
	e := engineFor(t, dsns, nil)
	n := observed(t, e, "n1")
	want := []string{"wal_level", "track_commit_timestamp", "max_slot_wal_keep_size", "free_slots", "free_wal_senders", "free_origins"}
	if major >= 18 {
		want = append(want, "idle_replication_slot_timeout")
	}
	got := codes(n)
	for _, c := range want {
		if !slices.Contains(got, c) {
			t.Errorf("no finding %s in %v", c, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("findings %v, want %v", got, want)
	}
	if f, ok := n.Blocked(); !ok || f.Code != "wal_level" || !strings.Contains(f.Remedy, "ALTER SYSTEM SET wal_level") {
		t.Errorf("blocked by %+v, %v", f, ok)
	}
}

// The remedies of a role without any privilege are SQL that gives it all it
// needs, and nothing is taken for a fact before.
func TestGrantRemediesAreEnough(t *testing.T) {
	mesh := ownMesh(t, false)
	for _, n := range mesh.Nodes() {
		exec(t, n, `CREATE ROLE "the healer" LOGIN`)
	}
	exec(t, mesh.Node("n2"), "INSERT INTO kv VALUES (1, 'a')")
	try(t, mesh.WaitCaughtUp(t.Context()))
	dsns := make(map[string]string)
	for _, n := range mesh.Nodes() {
		dsns[n.Name()] = n.DSN() + ` user='the healer'`
	}
	e := engineFor(t, dsns, nil)
	n := observed(t, e, "n1")
	if f, ok := n.Blocked(); !ok || f.Code != "grant" {
		t.Fatalf("blocked by %+v %v", f, ok)
	}
	for range 2 { // the second time through, what the first made visible
		for _, f := range n.Findings {
			switch f.Code {
			case "grant":
				exec(t, mesh.Node("n1"), f.Remedy)
			case "subscription_owner":
				owner := value[string](t, mesh.Node("n1"), "SELECT current_user::text")
				exec(t, mesh.Node("n1"), fmt.Sprintf(`GRANT "%s" TO "the healer"`, owner))
			default:
				t.Errorf("finding %+v", f)
			}
		}
		n = observed(t, e, "n1")
	}
	if len(n.Findings) > 0 {
		t.Fatalf("left: %+v", n.Findings)
	}
	sub, ok := n.From("n2")
	if !ok || sub.Progress == 0 {
		t.Fatalf("subscription to n2: %+v %v", sub, ok)
	}
	// It is enough to work with.
	ctx := t.Context()
	fence, err := e.Fence(ctx, "n1", sub, topology.Identity{})
	try(t, err)
	try(t, e.Unfence(ctx, "n1", fence))
	_, err = e.MarkGap(ctx, "n1", "n2", 1, 2)
	try(t, err)
	try(t, e.UnmarkGap(ctx, "n1", "n2", 2))
	try(t, e.CreateSeed(ctx, "n1", "n3"))
	try(t, e.StandbySnapshot(ctx, "n1"))
	_, err = e.Flush(ctx, "n1")
	try(t, err)
	_, err = e.ProgressAll(ctx, "n1")
	try(t, err)
	try(t, e.DropSlot(ctx, "n1", topology.SeedSlotName("app", "n1", "n3")))
}

func TestMissingGrantIsAFaultWithARemedy(t *testing.T) {
	mesh := sharedMesh(t)
	exec(t, mesh.Node("n1"), "DROP ROLE IF EXISTS nobody; CREATE ROLE nobody LOGIN")
	e := engineFor(t, map[string]string{"n1": mesh.Node("n1").DSN() + " user=nobody"}, nil)
	_, err := e.MarkGap(t.Context(), "n1", "n2", 1, 2)
	wantFault(t, err, topology.Permanent, "42501")
	if err == nil || !strings.Contains(err.Error(), "GRANT") {
		t.Errorf("no remedy in %v", err)
	}
}

func TestEchoingSubscriptionBlocks(t *testing.T) {
	mesh := ownMesh(t, false)
	exec(t, mesh.Node("n1"), fmt.Sprintf("ALTER SUBSCRIPTION %s SET (origin = any)", localpg.SubscriptionName("n1", "n2")))
	e := engineOf(t, mesh, nil)
	n := observed(t, e, "n1")
	if f, ok := n.Blocked(); !ok || f.Code != "subscription_origin" {
		t.Fatalf("blocked by %+v %v", f, ok)
	}
	f, _ := n.Blocked()
	exec(t, mesh.Node("n1"), f.Remedy)
	if f, ok := observed(t, e, "n1").Blocked(); ok {
		t.Errorf("still %+v", f)
	}
}
