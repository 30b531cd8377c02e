package native

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/postgres/engine"
	"healer/topology"
)

var lostID = topology.Identity{SystemID: 42, Timeline: 3}

// fenced checks that subscription and mark agree, and that nothing runs.
func wantFenced(t *testing.T, e *engine.Engine, node, lost string, fence topology.Fence) {
	t.Helper()
	// A worker that the launcher started for what it read before the fence may
	// show for a moment: it ends when it reads the subscription itself.
	within(t, "no worker behind the fence", func() bool {
		sub, _ := observed(t, e, node).From(lost)
		return sub.Enabled || sub.Worker != topology.WorkerBusy
	})
	n := observed(t, e, node)
	sub, _ := n.From(lost)
	got, ok := n.FenceOf(lost)
	fence.Made = got.Made // only the catalog has it
	if sub.Enabled || sub.Worker == topology.WorkerBusy || !ok || !cmp.Equal(got, fence) || got.Made == 0 || len(n.Fences) != 1 {
		t.Errorf("%s: subscription %+v, fences %+v, want %+v", node, sub, n.Fences, fence)
	}
}

func wantOpen(t *testing.T, e *engine.Engine, node, lost string) {
	t.Helper()
	n := observed(t, e, node)
	if sub, ok := n.From(lost); !ok || !sub.Enabled || len(n.Fences) > 0 {
		t.Errorf("%s: subscription %+v, fences %+v", node, sub, n.Fences)
	}
}

// A worker that starts while nobody answers waits in its attempt to connect.
func TestFenceOfAVanishedNode(t *testing.T) {
	mesh := ownMesh(t, true)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	sub := subscribed(t, e, "n1", "n3")
	link := mesh.Link("n3", "n1")
	link.Cut()
	link.Sever()
	within(t, "a worker tries to connect", func() bool {
		return value[int](t, mesh.Node("n1"), `SELECT count(*)::int FROM pg_stat_subscription s JOIN pg_stat_activity a USING (pid)
			WHERE s.subname = $1 AND lower(a.wait_event) = 'libpqwalreceiverconnect'`, sub.Name) == 1
	})
	if state, err := e.Drain(ctx, "n1", sub, time.Minute); err != nil || state == topology.WorkerBusy {
		t.Fatalf("drained: %v %v", state, err)
	}
	fence, err := e.Fence(ctx, "n1", sub, lostID)
	try(t, err)
	before := observed(t, e, "n1")
	wantFenced(t, e, "n1", "n3", fence)
	// It comes to life after all, and must not apply anything.
	exec(t, mesh.Node("n3"), "INSERT INTO kv VALUES (33, 'behind the fence')")
	try(t, link.Heal())
	within(t, "the worker is gone", func() bool {
		sub, _ := observed(t, e, "n1").From("n3")
		return sub.Worker == topology.WorkerNone
	})
	was, _ := before.From("n3")
	if now, _ := observed(t, e, "n1").From("n3"); now.Progress != was.Progress {
		t.Errorf("progress went from %v to %v behind the fence", was.Progress, now.Progress)
	}
	if n := value[int](t, mesh.Node("n1"), "SELECT count(*)::int FROM kv WHERE k = 33"); n != 0 {
		t.Error("a change passed the fence")
	}
}

// Somebody who dies half-way through a fence leaves nothing of it.
func TestFenceIsOneTransaction(t *testing.T) {
	mesh := ownMesh(t, false)
	e := engineOf(t, mesh, nil)
	sub := subscribed(t, e, "n1", "n3")
	conn, err := mesh.Node("n1").Connect(t.Context())
	try(t, err)
	defer conn.Close(context.Background())
	// The lock lets the mark through and holds up ALTER SUBSCRIPTION.
	_, err = conn.Exec(t.Context(), "BEGIN; COMMENT ON SUBSCRIPTION "+sub.Name+" IS 'held'")
	try(t, err)
	_, err = e.Fence(t.Context(), "n1", sub, lostID)
	wantFault(t, err, topology.Transient, "55P03")
	wantOpen(t, e, "n1", "n3")
	_, err = conn.Exec(t.Context(), "ROLLBACK")
	try(t, err)
	_, err = e.Fence(t.Context(), "n1", sub, lostID)
	try(t, err)
}

// Enabled by hand behind a fence: fencing again closes it under the same mark.
func TestFenceClosesWhatWasOpenedBehindIt(t *testing.T) {
	mesh := ownMesh(t, false)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	sub := subscribed(t, e, "n1", "n3")
	fence, err := e.Fence(ctx, "n1", sub, lostID)
	try(t, err)
	exec(t, mesh.Node("n1"), "ALTER SUBSCRIPTION "+sub.Name+" RENAME TO renamed; ALTER SUBSCRIPTION renamed ENABLE")
	fence.Subscription = "renamed"
	again, err := e.Fence(ctx, "n1", sub, lostID)
	if err != nil || !cmp.Equal(again, fence) {
		t.Fatalf("again %+v %v", again, err)
	}
	wantFenced(t, e, "n1", "n3", fence)
	// The mark of a subscription that was dropped can still be removed.
	exec(t, mesh.Node("n1"), "ALTER SUBSCRIPTION renamed SET (slot_name = NONE)")
	exec(t, mesh.Node("n1"), "DROP SUBSCRIPTION renamed")
	_, err = e.Fence(ctx, "n1", sub, lostID)
	wantFault(t, err, topology.Permanent, "no_subscription")
	try(t, e.Unfence(ctx, "n1", fence))
	if n := observed(t, e, "n1"); len(n.Fences) > 0 {
		t.Errorf("fences %+v", n.Fences)
	}
}

// What was received before the loss arrives: a drain waits for a worker that
// waits for a lock, as long as it may. (All in one transaction: between two, a
// worker may try to send its provider a status, and end when that fails.)
func TestDrainWaitsForWhatWasReceived(t *testing.T) {
	mesh := ownMesh(t, false)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	n1, n3 := mesh.Node("n1"), mesh.Node("n3")
	sub := subscribed(t, e, "n1", "n3")
	exec(t, n3, "INSERT INTO kv VALUES (0, '')")
	try(t, mesh.WaitCaughtUp(ctx))
	conn, err := n1.Connect(ctx)
	try(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(ctx, "BEGIN; UPDATE kv SET v = 'mine' WHERE k = 0")
	try(t, err)
	const many = 2000
	exec(t, n3, fmt.Sprintf(`UPDATE kv SET v = 'theirs' WHERE k = 0;
		INSERT INTO kv SELECT 1000 + i, 'received' FROM generate_series(1, %d) i`, many))
	within(t, "all sent", func() bool {
		return value[bool](t, n3, `SELECT bool_and(sent_lsn >= pg_current_wal_flush_lsn()) FROM pg_stat_replication`)
	})
	try(t, mesh.Kill(ctx, "n3"))
	if state, err := e.Drain(ctx, "n1", sub, 10*pollEvery); err != nil || state != topology.WorkerBusy {
		t.Fatalf("held by a lock: %v %v", state, err)
	}
	short, cancel := context.WithTimeout(ctx, 10*pollEvery)
	defer cancel()
	done := make(chan topology.WorkerState, 1)
	go func() {
		state, err := e.Drain(ctx, "n1", sub, time.Minute)
		if err != nil {
			t.Error(err)
		}
		done <- state
	}()
	<-short.Done()
	_, err = conn.Exec(ctx, "COMMIT")
	try(t, err)
	if state := <-done; state == topology.WorkerBusy {
		t.Errorf("drained: %v", state)
	}
	if n := value[int](t, n1, "SELECT count(*)::int FROM kv WHERE k >= 1000"); n != many {
		t.Errorf("%d of %d received rows arrived", n, many)
	}
}

func TestFenceTellsOfAWorkerThatDoesNotStop(t *testing.T) {
	mesh := ownMesh(t, false)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	n1, n3 := mesh.Node("n1"), mesh.Node("n3")
	sub := subscribed(t, e, "n1", "n3")
	exec(t, n3, "INSERT INTO kv VALUES (0, '')")
	try(t, mesh.WaitCaughtUp(ctx))
	conn, err := n1.Connect(ctx)
	try(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(ctx, "BEGIN; UPDATE kv SET v = 'mine' WHERE k = 0")
	try(t, err)
	exec(t, n3, "UPDATE kv SET v = 'theirs' WHERE k = 0")
	within(t, "the worker waits for the lock", func() bool {
		sub, _ := observed(t, e, "n1").From("n3")
		return sub.Worker == topology.WorkerBusy
	})
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	fence, err := e.Fence(short, "n1", sub, lostID)
	wantFault(t, err, topology.Transient, "worker_running")
	if n := observed(t, e, "n1"); len(n.Fences) != 1 || fence.Mark == "" {
		t.Errorf("fences %+v", n.Fences)
	}
	_, err = conn.Exec(ctx, "COMMIT")
	try(t, err)
	_, err = e.Fence(ctx, "n1", sub, lostID)
	try(t, err)
	wantFenced(t, e, "n1", "n3", fence)
	// The transaction it was in is there, whole.
	if v := value[string](t, n1, "SELECT v FROM kv WHERE k = 0"); v != "theirs" {
		t.Errorf("row is %q", v)
	}
}

func TestUnfenceRefusesWhatIsNoMark(t *testing.T) {
	mesh := sharedMesh(t)
	e := engineOf(t, mesh, nil)
	err := e.Unfence(t.Context(), "n1", topology.Fence{Mark: "pg_16384"})
	wantFault(t, err, topology.Permanent, "bad_mark")
	_, err = e.Fence(t.Context(), "n1", topology.Subscription{Name: "x", ID: 1, Provider: "n3"}, lostID)
	wantFault(t, err, topology.Permanent, "no_subscription")
	_, err = e.Fence(t.Context(), "n1", topology.Subscription{Name: "x", ID: 1}, lostID)
	wantFault(t, err, topology.Permanent, "no_provider")
}

// Marks of another database of the same server are nobody's business here.
func TestMarksOfOtherDatabases(t *testing.T) {
	mesh := sharedMesh(t)
	e := engineOf(t, mesh, nil)
	names := []string{"healer:fence:elsewhere:1:n2:1:1", "healer:gap:elsewhere:n2:1:2"}
	for _, name := range names {
		exec(t, mesh.Node("n1"), "SELECT pg_replication_origin_create($1)", name)
	}
	n := observed(t, e, "n1")
	for _, name := range names {
		exec(t, mesh.Node("n1"), "SELECT pg_replication_origin_drop($1)", name)
	}
	if len(n.Fences)+len(n.Gaps) > 0 {
		t.Errorf("%+v %+v", n.Fences, n.Gaps)
	}
}
