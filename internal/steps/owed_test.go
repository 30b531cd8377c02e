package steps

import (
	"context"
	"slices"
	"testing"
	"time"

	"healer/executor"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/planner"
	"healer/postgres"
	"healer/rescue"
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

// What all others lack of a node, or of the origin of a gap that is absent, they have
// deleted, as far as each has received it; but nobody says so of whom the rows are still to
// be compared, or who does not know.
func TestWhatAllHaveDeleted(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	e := lasting{at: map[string]time.Time{"n1": noon.Add(time.Second), "n3": noon}}
	r := New(Options{Engine: e})
	reads := []topology.Subscription{{Provider: "n2"}, {Provider: "n5"}}
	sound := func() topology.Observation {
		return topology.Observation{Nodes: []topology.NodeState{{Name: "n1", Subscriptions: reads}, {Name: "n2"}, {Name: "n3", Subscriptions: reads}}}
	}
	others := []string{"n1", "n3"}
	say := func(of string, obs topology.Observation) []rescue.Deletion {
		t.Helper()
		got, err := r.deletedByAll(t.Context(), "n2", of, others, obs)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	owed := []topology.Owed{{Node: "n2", Origin: "n5"}}
	if got := absent(owed, []string{"n2", "n1", "n3"}); !slices.Equal(got, []string{"n5"}) {
		t.Errorf("absent are %v, want n5", got)
	}
	for _, of := range []string{"n2", "n5"} {
		obs := sound()
		obs.Nodes[0].Owed = owed
		if of == "n5" {
			obs.Nodes = append(obs.Nodes, topology.NodeState{Name: "n5"})
			obs.Nodes[0].Fences = []topology.Fence{{Origin: "n5"}}
			obs.Nodes[0].Owed = append(slices.Clone(owed), topology.Owed{Node: "n5", Origin: "n2"})
		}
		got := say(of, obs)
		if len(got) != 1 || got[0].Of != of || !slices.Equal(got[0].All, others) || !got[0].At.Equal(noon.Add(time.Microsecond)) {
			t.Errorf("%+v: want what %s wrote until noon", got, of)
		}
		for name, spoil := range map[string]func(*topology.Observation){
			"a gap is open":           func(o *topology.Observation) { o.Nodes[0].Gaps = []topology.GapMark{{Origin: "n4"}} },
			"one is fenced off":       func(o *topology.Observation) { o.Nodes[0].Fences = []topology.Fence{{Origin: "n3"}} },
			"a comparison is owed":    func(o *topology.Observation) { o.Nodes[0].Owed = []topology.Owed{{Node: "n3", Origin: "n4"}} },
			"a node takes no part":    func(o *topology.Observation) { o.Nodes = append(o.Nodes, topology.NodeState{Name: "n4"}) },
			"one does not read of it": func(o *topology.Observation) { o.Nodes[2].Subscriptions = nil },
			"one has forgotten when":  func(*topology.Observation) { delete(e.at, "n3") },
		} {
			obs := obs
			obs.Nodes = slices.Clone(obs.Nodes)
			spoil(&obs)
			if got := say(of, obs); len(got) > 0 {
				t.Errorf("of %s, %s: %+v", of, name, got)
			}
			e.at["n3"] = noon
		}
	}
}

// A node deletes an old version of a row before its gap brings it the next one, which the
// others delete when they hear of it. The gap's origin stays away: the row goes.
func TestDeletedBeforeTheGapBroughtIt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := newLab(ctx, t)
	l.exec("n1", `insert into t values (1, 'old'), (2, 'old')`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n1", "n2"))
	l.must(l.mesh.WaitCaughtUp(ctx, "n1", "n3"))
	l.exec("n3", `alter subscription sub_n3_from_n1 disable`)
	l.exec("n2", `alter subscription sub_n2_from_n3 disable`)
	l.exec("n1", `delete from t; insert into t values (1, 'new'), (2, 'new')`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n1", "n2"))
	l.exec("n3", `delete from t`)
	l.exec("n3", `alter subscription sub_n3_from_n1 enable`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n1", "n3"))
	for _, n := range []string{"n2", "n3"} {
		l.exec(n, `alter subscription sub_`+n+`_from_n1 disable`)
	}
	l.exec("n2", `alter subscription sub_n2_from_n3 enable`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n3", "n2"))
	l.must(l.engine.Owe(ctx, "n2", "n3", "n1"))

	r := l.run("n1")
	p := planner.Plan{Cluster: "app", Kind: planner.Rejoin, Node: "n3", Survivors: []string{"n2"}}
	res, err := r.applyCompare(ctx, p, planner.Step{})
	l.must(err)
	if res.Figures[executor.FigureRepaired] != 2 {
		t.Errorf("%s: want two rows repaired", res.Evidence)
	}
	for _, n := range []string{"n2", "n3"} {
		got, err := localpg.Value[int64](ctx, l.mesh.Node(n), `select count(*) from t`)
		l.must(err)
		if got != 0 {
			t.Errorf("%s has %d rows, want none", n, got)
		}
	}
	l.must(r.Close(ctx))
}

// A node is let in although its gap was never carried: what it brings meets what n3 has made
// of these rows since, and what n1 has of that already. All rows are compared then.
func TestLetInWithItsGapOpen(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := newLab(ctx, t)
	l.exec("n1", `insert into t values (4, 'old')`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n1", "n2"))
	l.must(l.mesh.WaitCaughtUp(ctx, "n1", "n3"))
	l.exec("n1", `alter subscription sub_n1_from_n2 disable`)
	l.exec("n2", `insert into t values (1, 'n2'), (2, 'n2'), (3, 'n2')`)
	l.exec("n2", `update t set v = 'n2' where id = 4`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n2", "n3"))
	l.exec("n3", `delete from t where id in (1, 3)`)
	l.exec("n3", `insert into t values (1, 'n3')`)
	l.exec("n3", `update t set v = 'n3' where id in (2, 4)`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n3", "n1"))
	l.must(l.mesh.WaitCaughtUp(ctx, "n3", "n2"))

	r := l.run()
	p := planner.Plan{Cluster: "app", Kind: planner.Rejoin, Node: "n2", Survivors: []string{"n1", "n3"}, Readers: []string{"n1", "n3"}}
	r.obs = l.engine.ObserveAll(ctx)
	for _, n := range r.obs.Nodes {
		if sub, reads := n.From("n2"); reads {
			p.Watermark = max(p.Watermark, sub.Progress)
		}
	}
	counted := r.countFailures(ctx, nil)
	for known := false; !known && ctx.Err() == nil; {
		_, known = r.freer(planner.Plan{}).failures[worker{"n1", "sub_n1_from_n2"}]
	}
	counted()
	for _, name := range p.Survivors {
		n, _ := r.obs.Node(name)
		l.must(r.oweItself(ctx, p, n))
	}
	l.exec("n1", `alter subscription sub_n1_from_n2 enable`)
	for _, name := range p.Survivors {
		l.must(r.drain(ctx, p, name))
	}
	var owed []topology.Owed
	for _, n := range l.engine.ObserveAll(ctx).Nodes {
		owed = append(owed, n.OwedTo("n2")...)
	}
	if len(owed) != 1 || owed[0].Origin != "n2" {
		t.Errorf("%+v is owed, want n2's own, on n1", owed)
	}
	_, err := r.applyCompare(ctx, p, planner.Step{})
	l.must(err)
	for _, n := range []string{"n1", "n2", "n3"} {
		got, err := localpg.Value[string](ctx, l.mesh.Node(n), `select string_agg(id || v, ' ' order by id) from t`)
		l.must(err)
		if want := "1n3 2n3 4n3"; got != want {
			t.Errorf("%s has %s, want %s", n, got, want)
		}
		if left := l.engine.Observe(ctx, n).Owed; len(left) > 0 {
			t.Errorf("%s is left with %+v", n, left)
		}
	}
	l.must(r.Close(ctx))
}
