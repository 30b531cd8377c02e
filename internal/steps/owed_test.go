package steps

import (
	"testing"
	"time"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres"
	"healer/topology"
)

// What the origin of a gap lacks of its own rows it has deleted, up to its server's
// present; but not one that takes no part, or that nobody has checked yet.
func TestOriginsKnowWhatTheyHaveDeleted(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t, localpg.ServerOptions{})
	server, err := postgres.Open("n1", s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	r := New(Options{Servers: map[string]Server{"n1": server}})
	owed := []topology.Owed{{Node: "n4", Origin: "n1"}, {Node: "n3", Origin: "n1"}, {Node: "n3", Origin: "n5"}}
	obs := topology.Observation{Nodes: []topology.NodeState{{Name: "n1"}, {Name: "n2"}, {Name: "n3"}, {Name: "n4"}}}
	before := time.Now()
	got, err := r.deletedAtHome(t.Context(), owed, []string{"n4", "n1", "n2", "n3"}, obs)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Holder != "n1" || got[0].Author != "n1" || got[0].Of != "n1" || got[0].At.Before(before.Add(-time.Millisecond)) || got[0].At.After(time.Now()) {
		t.Errorf("%+v, want one, of n1, up to now", got)
	}
	obs.Nodes[1].Fences = []topology.Fence{{Origin: "n1"}}
	if got, err = r.deletedAtHome(t.Context(), owed, []string{"n4", "n1", "n2", "n3"}, obs); err != nil || len(got) > 0 {
		t.Errorf("%+v, %v of one that n2 fences off", got, err)
	}
}
