package native

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/internal/localpg"
	"healer/topology"
)

func TestProviderBehindAProxyIsAsked(t *testing.T) {
	mesh := sharedMesh(t)
	e := engineOf(t, mesh, nil)
	if e.Nodes()[0] != "n1" || len(e.Providers()) != 0 {
		t.Fatal("nothing is known before anything is read")
	}
	// The first reading of one node alone: the others were never met.
	for _, peer := range []string{"n2", "n3"} {
		if sub := subscribed(t, e, "n1", peer); sub.Name != localpg.SubscriptionName("n1", peer) {
			t.Errorf("from %s: %+v", peer, sub)
		}
	}
	for k, v := range e.Providers() {
		if !strings.HasPrefix(k, "n1/") || strings.Contains(k, "password") || (v != "n2" && v != "n3") {
			t.Errorf("remembers %s=%s", k, v)
		}
	}
}

// With its provider dead nothing tells but memory, or the mark of a fence; and
// nothing is guessed.
func TestProviderThatIsDead(t *testing.T) {
	mesh := ownMesh(t, true)
	ctx := t.Context()
	first := engineOf(t, mesh, nil)
	sub := subscribed(t, first, "n1", "n3")
	remembered := first.Providers()
	try(t, mesh.Kill(ctx, "n3"))

	forgetful := engineOf(t, mesh, nil)
	if sub, ok := observed(t, forgetful, "n1").From("n3"); ok {
		t.Fatalf("guessed %+v", sub)
	}
	if _, err := forgetful.SourceOrigin(ctx, "n1", "n3"); topology.ClassOf(err) != topology.Transient {
		t.Errorf("an unknown provider: %v", err)
	}
	if sub, ok := observed(t, engineOf(t, mesh, remembered), "n1").From("n3"); !ok || sub.Name != localpg.SubscriptionName("n1", "n3") {
		t.Errorf("remembered: %+v %v", sub, ok)
	}

	fence, err := first.Fence(ctx, "n1", sub, topology.Identity{SystemID: 7, Timeline: 1})
	try(t, err)
	n := observed(t, engineOf(t, mesh, nil), "n1")
	if got, ok := n.From("n3"); !ok || got.ID != sub.ID {
		t.Errorf("fenced: %+v %v", got, ok)
	}
	got, ok := n.FenceOf("n3")
	if got.Made == 0 {
		t.Error("nobody can tell this fence from a later one of the same name")
	}
	fence.Made = got.Made // only who reads the mark learns it
	if !ok || !cmp.Equal(got, fence) {
		t.Errorf("fence %+v, want %+v", got, fence)
	}
}

// What a server says of itself now weighs more than what was remembered.
func TestProviderMemoryYieldsToTheServer(t *testing.T) {
	mesh := sharedMesh(t)
	first := engineOf(t, mesh, nil)
	subscribed(t, first, "n1", "n2")
	subscribed(t, first, "n1", "n3")
	wrong := make(map[string]string)
	for k := range first.Providers() {
		wrong[k] = "n3"
	}
	e := engineOf(t, mesh, wrong)
	within(t, "told by the server", func() bool {
		sub, ok := observed(t, e, "n1").From("n2")
		return ok && sub.Name == localpg.SubscriptionName("n1", "n2")
	})
}

// A subscription that reads from elsewhere now is a new question.
func TestProviderFollowsTheConnectionString(t *testing.T) {
	mesh := ownMesh(t, true)
	e := engineOf(t, mesh, nil)
	sub := subscribed(t, e, "n1", "n2")
	exec(t, mesh.Node("n1"), fmt.Sprintf("ALTER SUBSCRIPTION %s CONNECTION 'host=127.0.0.1 port=1 dbname=app'", sub.Name))
	if got, ok := observed(t, e, "n1").From("n2"); ok {
		t.Errorf("still %+v", got)
	}
	for k := range e.Providers() {
		if strings.Contains(k, "/"+sub.Name+"@") {
			t.Errorf("still remembers %s", k)
		}
	}
}
