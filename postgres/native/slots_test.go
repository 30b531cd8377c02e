package native

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"healer/internal/localpg"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

const (
	rec   = "spock_app_recovery_n1_n2"
	seed  = "spock_app_recovery_n1_n2_seed"
	clone = "healer_app_clone_n1_n2_n3_c"
)

func slotOf(t *testing.T, e *engine.Engine, node, name string) (topology.Slot, bool) {
	t.Helper()
	slots, err := e.Slots(t.Context(), node)
	try(t, err)
	for _, s := range slots {
		if s.Name == name {
			return s, true
		}
	}
	return topology.Slot{}, false
}

func TestSlotsOfOthersAreNotTouched(t *testing.T) {
	mesh := sharedMesh(t)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	meshSlot := localpg.SubscriptionName("n2", "n1")
	for _, name := range []string{meshSlot, "somebody_elses", "spock_app_recovery_n1_n9"} {
		wantFault(t, e.DropSlot(ctx, "n1", name), topology.Permanent, "not_ours")
		_, err := e.AdvanceSlot(ctx, "n1", name, 1<<40)
		wantFault(t, err, topology.Permanent, "not_ours")
		wantFault(t, e.CloneSlot(ctx, "n1", rec, name), topology.Permanent, "not_ours")
	}
	if _, ok := slotOf(t, e, "n1", meshSlot); !ok {
		t.Error("the mesh's slot is gone")
	}
	exec(t, mesh.Node("n1"), "SELECT pg_create_logical_replication_slot('somebody_elses', 'pgoutput')")
	s, _ := slotOf(t, e, "n1", "somebody_elses")
	exec(t, mesh.Node("n1"), "SELECT pg_drop_replication_slot('somebody_elses')")
	if s.Kind != topology.SlotForeign || s.To != "" {
		t.Errorf("%+v", s)
	}
}

// While a transaction runs a slot cannot be made; giving up leaves nothing.
func TestCreateSeedGivesUpCleanly(t *testing.T) {
	mesh := ownMesh(t, false)
	e := engineOf(t, mesh, nil)
	n1 := mesh.Node("n1")
	conn, err := n1.Connect(t.Context())
	try(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "BEGIN; INSERT INTO kv VALUES (1, 'open')")
	try(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := e.CreateSeed(ctx, "n1", "n2"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if n := value[int](t, n1, "SELECT count(*)::int FROM pg_replication_slots WHERE slot_name = $1", seed); n != 0 {
		t.Error("half a slot is left")
	}
	_, err = conn.Exec(t.Context(), "COMMIT")
	try(t, err)
	try(t, e.CreateSeed(t.Context(), "n1", "n2"))
}

// A clone that a dead agent's session still streams is taken from it; a
// recovery slot in somebody's hands is not.
func TestDropOfAHeldSlot(t *testing.T) {
	mesh := ownMesh(t, false)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	try(t, e.CreateSeed(ctx, "n1", "n2"))
	try(t, e.Promote(ctx, "n1", "n2"))
	try(t, e.CloneSlot(ctx, "n1", rec, clone))
	s := serverOf(t, mesh, "n1")
	for _, slot := range []string{clone, rec} {
		conn, err := s.Replication(ctx)
		try(t, err)
		defer postgres.Hangup(conn)
		try(t, pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{
			PluginArgs: []string{"proto_version '1'", "publication_names 'mesh'"},
		}))
	}
	try(t, e.DropSlot(ctx, "n1", clone))
	if _, ok := slotOf(t, e, "n1", clone); ok {
		t.Error("the clone is still there")
	}
	short, cancel := context.WithTimeout(ctx, 10*pollEvery)
	defer cancel()
	if err := e.DropSlot(short, "n1", rec); err == nil {
		t.Error("took a recovery slot from its session")
	}
	if r, ok := slotOf(t, e, "n1", rec); !ok || !r.Active {
		t.Errorf("recovery slot %+v %v", r, ok)
	}
}

func TestLostSlotsAreReplacedAndNotCloned(t *testing.T) {
	mesh := ownMesh(t, false)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	n1 := mesh.Node("n1")
	try(t, e.CreateSeed(ctx, "n1", "n2"))
	try(t, e.Promote(ctx, "n1", "n2"))
	n1.SetConf("max_slot_wal_keep_size", "1MB")
	try(t, n1.Reload())
	within(t, "the slot is lost", func() bool {
		exec(t, n1, "INSERT INTO kv SELECT i, repeat('x', 1000) FROM generate_series(1, 3000) i ON CONFLICT (k) DO UPDATE SET v = kv.v || 'y'")
		exec(t, n1, "SELECT pg_switch_wal()")
		exec(t, n1, "CHECKPOINT")
		r, _ := slotOf(t, e, "n1", rec)
		return r.WALStatus == "lost"
	})
	wantFault(t, e.CloneSlot(ctx, "n1", rec, clone), topology.Permanent, "slot_lost")
	try(t, e.CreateSeed(ctx, "n1", "n2"))
	try(t, e.Promote(ctx, "n1", "n2"))
	if r, ok := slotOf(t, e, "n1", rec); !ok || r.WALStatus == "lost" {
		t.Errorf("recovery slot %+v %v", r, ok)
	}
}
