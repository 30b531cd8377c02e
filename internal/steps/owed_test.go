package steps

import (
	"context"
	"slices"
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

// lasting is an engine that knows when the last commit was that each node has applied.
type lasting struct {
	Engine
	at map[string]time.Time
}

func (l lasting) LastCommit(_ context.Context, node string, _ topology.Subscription) (time.Time, error) {
	return l.at[node], nil
}

// What all others lack of a node they have deleted, as far as each has received it; but
// nobody says so of whom the rows are still to be compared, or who does not know.
func TestWhatAllHaveDeleted(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	e := lasting{at: map[string]time.Time{"n1": noon.Add(time.Second), "n3": noon}}
	r := New(Options{Engine: e})
	reads := []topology.Subscription{{Provider: "n2"}}
	sound := func() topology.Observation {
		return topology.Observation{Nodes: []topology.NodeState{{Name: "n1", Subscriptions: reads}, {Name: "n2"}, {Name: "n3", Subscriptions: reads}}}
	}
	others := []string{"n1", "n3"}
	about := sound()
	about.Nodes[0].Owed = []topology.Owed{{Node: "n2", Origin: "n1"}}
	got, err := r.deletedByAll(t.Context(), "n2", others, about)
	if err != nil || len(got) != 1 || got[0].Of != "n2" || !slices.Equal(got[0].All, others) || !got[0].At.Equal(noon.Add(time.Microsecond)) {
		t.Errorf("%+v, %v: want what n2 wrote until noon", got, err)
	}
	for name, spoil := range map[string]func(*topology.Observation){
		"a gap is open":           func(o *topology.Observation) { o.Nodes[0].Gaps = []topology.GapMark{{Origin: "n4"}} },
		"one is fenced off":       func(o *topology.Observation) { o.Nodes[0].Fences = []topology.Fence{{Origin: "n3"}} },
		"a comparison is owed":    func(o *topology.Observation) { o.Nodes[0].Owed = []topology.Owed{{Node: "n3", Origin: "n4"}} },
		"a node takes no part":    func(o *topology.Observation) { o.Nodes = append(o.Nodes, topology.NodeState{Name: "n4"}) },
		"one does not read of it": func(o *topology.Observation) { o.Nodes[2].Subscriptions = nil },
		"one has forgotten when":  func(*topology.Observation) { delete(e.at, "n3") },
	} {
		obs := sound()
		spoil(&obs)
		if got, err := r.deletedByAll(t.Context(), "n2", others, obs); err != nil || len(got) > 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		e.at["n3"] = noon
	}
}
