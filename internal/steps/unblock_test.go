package steps

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"healer/executor"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/planner"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/postgres/native"
	"healer/rescue"
	"healer/topology"
)

// lab is a mesh of three nodes with one table.
type lab struct {
	mesh    *localpg.Mesh
	engine  *engine.Engine
	servers map[string]Server
	must    func(error)
	exec    func(node, sql string)
}

func newLab(ctx context.Context, t *testing.T) lab {
	l := lab{
		mesh:    pgtest.Mesh(t, localpg.Options{Nodes: 3, Schema: []string{`create table t (id int primary key, v text)`}}),
		servers: map[string]Server{},
		must: func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		},
	}
	l.exec = func(node, sql string) {
		t.Helper()
		_, err := l.mesh.Node(node).Exec(ctx, sql)
		l.must(err)
	}
	all := map[string]*postgres.Server{}
	for _, n := range l.mesh.Names() {
		s, err := postgres.Open(n, l.mesh.Node(n).DSN())
		l.must(err)
		t.Cleanup(s.Close)
		l.servers[n], all[n] = s, s
	}
	l.engine = native.New(engine.Options{Cluster: "app", Servers: all, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(l.engine.Close)
	return l
}

// givenLate has n3 receive the deletion of a row that it is given only then, and n2 write
// the row anew. In between n3 runs some SQL.
func (l lab) givenLate(ctx context.Context, between ...string) {
	l.exec("n3", `alter subscription sub_n3_from_n1 disable`)
	l.exec("n1", `insert into t values (1, 'n1'), (2, 'n1')`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n1", "n2"))
	l.exec("n2", `delete from t where id = 1`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n2", "n3"))
	for _, sql := range between {
		l.exec("n3", sql)
	}
	l.exec("n3", `alter subscription sub_n3_from_n1 enable`)
	l.must(l.mesh.WaitCaughtUp(ctx, "n1", "n3"))
	l.exec("n2", `insert into t values (1, 'n2')`)
}

// A row that no gap is known to have touched keeps n3 from going on: whoever waits for
// all finds it by what the worker fails at, and it is compared afterwards.
func TestWaitReadsWhatAWorkerFailsAt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := newLab(ctx, t)
	m, e, must := l.mesh, l.engine, l.must

	l.givenLate(ctx)

	p := planner.Plan{Cluster: "app", Node: "n1", Survivors: []string{"n2", "n3"}}
	r := l.run("n1")
	r.obs = e.ObserveAll(ctx, "n1")
	freed := 0
	must(r.barrier(p, nil, &freed)(ctx))
	if freed != 1 {
		t.Errorf("%d rows were taken off, want the one that n2 writes anew", freed)
	}

	// The run ends without its comparison, and the next one has the row all the same.
	left := r.Uncompared()
	must(r.Close(ctx))
	options := r.Options
	options.Earlier = left
	r = New(options)
	r.obs = e.ObserveAll(ctx, "n1")
	res, err := r.applyVerify(ctx, p, planner.Step{})
	must(err)
	if res.Figures[executor.FigureCompared] != 1 || res.Figures[executor.FigureRepaired] != 0 {
		t.Errorf("%v: want that this row was compared, and equal", res.Figures)
	}
	if left := r.Uncompared(); len(left) > 0 {
		t.Errorf("%d sets are left of what was compared", len(left))
	}
	const rows = `select string_agg(id || v, ' ' order by id) from t`
	got, err := localpg.Value[string](ctx, m.Node("n3"), rows)
	must(err)
	if want := "1n2 2n1"; got != want {
		t.Errorf("n3 has %s, want %s", got, want)
	}
	must(r.Close(ctx))
}

// run is one of which some nodes are lost.
func (l lab) run(lost ...string) *Run {
	return New(Options{
		Engine: l.engine, Servers: l.servers, Wrap: func(_ string, err error) error { return err },
		Trigger: func() planner.Trigger { return planner.Trigger{Lost: lost} },
		Log:     slog.New(slog.DiscardHandler),
	})
}

// blocked has n3 fail at two rows that n2 writes: one that n2 has deleted, and that a gap has
// given n3 since, and one that a comparison has given n3 already as n2 wrote it last.
func (l lab) blocked(ctx context.Context, t *testing.T) *Run {
	l.givenLate(ctx, `alter subscription sub_n3_from_n2 disable`)
	l.exec("n2", `insert into t values (3, 'first')`)
	l.exec("n2", `update t set v = 'n2' where id = 3`)

	r := l.run()
	r.obs = l.engine.ObserveAll(ctx)
	counted := r.countFailures(ctx, nil)
	for known := false; !known && ctx.Err() == nil; {
		_, known = r.freer(planner.Plan{}).failures[worker{"n3", "sub_n3_from_n2"}]
	}
	counted()
	peers, err := r.sessions(ctx, []string{"n2", "n3"})
	l.must(err)
	defer closeAll(ctx, peers)
	ahead, err := rescue.CompareRows(ctx, peers, rescue.RowSet{
		Table: topology.TableName{Schema: "public", Name: "t"}, KeyColumns: []string{"id"}, Keys: []rescue.Key{{"3"}},
	}, func(context.Context) error { return nil }, rescue.Policy{})
	l.must(err)
	if len(ahead) != 1 || ahead[0].State != rescue.RowRepaired {
		t.Fatalf("%+v: want that n3 is given row 3", ahead)
	}
	l.exec("n3", `alter subscription sub_n3_from_n2 enable`)
	return r
}

// freed expects that n2 and n3 have what n2 wrote.
func (l lab) freed(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, n := range []string{"n2", "n3"} {
		got, err := localpg.Value[string](ctx, l.mesh.Node(n), `select string_agg(id || v, ' ' order by id) from t`)
		l.must(err)
		if want := "1n2 2n1 3n2"; got != want {
			t.Errorf("%s has %s, want %s", n, got, want)
		}
	}
}

// What a node that is back brings meets rows on the other one: the drain goes on, and both
// have what the node wrote.
func TestDrainFreesWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := newLab(ctx, t)
	r := l.blocked(ctx, t)
	l.must(r.drain(ctx, planner.Plan{Kind: planner.Rejoin, Node: "n2"}, "n3"))
	l.freed(ctx, t)
	l.must(r.Close(ctx))
}

// The node was back before anybody was fenced off from it: nothing drains, and the
// comparison that is owed waits.
func TestComparisonFreesWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := newLab(ctx, t)
	l.must(l.blocked(ctx, t).Close(ctx))
	r := l.run()
	_, err := r.applyCompare(ctx, planner.Plan{Cluster: "app", Kind: planner.Rejoin, Node: "n2", Survivors: []string{"n1", "n3"}}, planner.Step{})
	l.must(err)
	l.freed(ctx, t)
	l.must(r.Close(ctx))
}
