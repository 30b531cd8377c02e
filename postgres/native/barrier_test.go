package native

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"healer/postgres/engine"
	"healer/topology"
)

func TestBarrierWaitsForAStalledLink(t *testing.T) {
	mesh := ownMesh(t, true)
	e := engineOf(t, mesh, nil)
	subscribed(t, e, "n2", "n1")
	mesh.Link("n1", "n2").Cut()
	exec(t, mesh.Node("n1"), "INSERT INTO kv VALUES (1, 'x')")
	ctx, cancel := context.WithTimeout(t.Context(), 20*pollEvery)
	defer cancel()
	if err := e.Barrier(ctx, []engine.Pair{{From: "n1", To: "n2"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("through a cut link: %v", err)
	}
	try(t, mesh.Link("n1", "n2").Heal())
	try(t, e.Barrier(t.Context(), []engine.Pair{{From: "n1", To: "n2"}}))
	if n := value[int](t, mesh.Node("n2"), "SELECT count(*)::int FROM kv WHERE k = 1"); n != 1 {
		t.Error("not there after the barrier")
	}
}

// A fenced pair stands still on purpose; one disabled by somebody never passes.
func TestBarrierAndDisabledSubscriptions(t *testing.T) {
	mesh := ownMesh(t, false)
	ctx := t.Context()
	e := engineOf(t, mesh, nil)
	sub := subscribed(t, e, "n1", "n3")
	_, err := e.Fence(ctx, "n1", sub, topology.Identity{})
	try(t, err)
	try(t, mesh.Kill(ctx, "n3"))
	try(t, e.Barrier(ctx, []engine.Pair{{From: "n3", To: "n1"}, {From: "n2", To: "n1"}, {From: "n1", To: "n2"}}))
	other := subscribed(t, e, "n1", "n2")
	exec(t, mesh.Node("n1"), fmt.Sprintf("ALTER SUBSCRIPTION %s DISABLE", other.Name))
	wantFault(t, e.Barrier(ctx, []engine.Pair{{From: "n2", To: "n1"}}), topology.Permanent, "subscription_disabled")
	wantFault(t, e.Barrier(ctx, []engine.Pair{{From: "n1", To: "n9"}}), topology.Permanent, "unknown_node")
}
