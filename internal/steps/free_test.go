package steps

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/planner"
	"healer/postgres"
	"healer/rescue"
)

// A lane that waits looks at the rows of those that have their gap already, and not at
// those of one that is being worked on.
func TestWaitingLanesKnowTheRowsOfTheOthers(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	own, first, second := &lane{}, &lane{touched: new(rescue.Touched)}, &lane{touched: new(rescue.Touched)}
	own.touched = new(rescue.Touched) // of an earlier attempt
	r.lanes = map[string]*lane{"n3": own, "n4": first, "n5": second}
	all, done := r.carried(own)
	if len(all) != 2 || !slices.Contains(all, first.touched) || !slices.Contains(all, second.touched) {
		t.Errorf("%d lanes' rows, want those of the two others", len(all))
	}
	if first.mu.TryLock() {
		t.Error("a lane may drop the rows that are looked at")
	}
	done()
	second.mu.Lock()
	if all, done = r.carried(own); len(all) != 1 || all[0] != first.touched {
		t.Errorf("%d lanes' rows, want those of the one that rests", len(all))
	}
	done()
	second.mu.Unlock()
	if !own.mu.TryLock() || !first.mu.TryLock() || !second.mu.TryLock() {
		t.Error("a lane stays locked")
	}
}

// silent is a server that does not answer.
type silent struct{ Server }

func (silent) ApplyFailures(context.Context) (map[string]int64, error) {
	return nil, errors.New("it does not answer")
}

// Workers of any survivor may fail, also of one that is nobody's laggard or source. What
// had failed before the run is no news, and who does not answer holds up nobody.
func TestFailingWorkersOfAnySurvivor(t *testing.T) {
	t.Parallel()
	m := pgtest.Mesh(t, localpg.Options{Nodes: 3, Schema: []string{`create table t (id int primary key)`}})
	servers := map[string]Server{"n1": silent{}}
	for _, n := range []string{"n2", "n3"} {
		server, err := postgres.Open(n, m.Node(n).DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		servers[n] = server
	}
	exec := func(node, sql string) {
		t.Helper()
		if _, err := m.Node(node).Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("n3", `alter subscription sub_n3_from_n2 disable`)
	exec("n2", `insert into t values (1)`)
	if err := m.WaitCaughtUp(t.Context(), "n1", "n2"); err != nil {
		t.Fatal(err)
	}
	exec("n3", `alter subscription sub_n3_from_n1 disable`)
	exec("n1", `alter subscription sub_n1_from_n3 disable`)
	exec("n2", `alter subscription sub_n2_from_n3 disable`)
	exec("n3", `insert into t values (1)`)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := New(Options{Servers: servers})
	look := func() []worker { return r.freer(planner.Plan{}).failing(ctx, m.Names()) }
	want := worker{"n3", "sub_n3_from_n2"}
	counted := r.countFailures(ctx, nil)
	for known := false; !known && ctx.Err() == nil; {
		_, known = r.freer(planner.Plan{}).failures[want]
	}
	counted()
	if got := look(); got != nil {
		t.Errorf("%v fail, and did before the run", got)
	}
	exec("n3", `alter subscription sub_n3_from_n2 enable`)
	var got []worker
	for got == nil && ctx.Err() == nil {
		got = look()
	}
	if !slices.Equal(got, []worker{want}) {
		t.Errorf("%v fail, want %v", got, want)
	}
}
