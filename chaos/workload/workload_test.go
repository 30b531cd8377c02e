package workload_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"healer/chaos/history"
	"healer/chaos/workload"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = time.Minute

func nodes(m *localpg.Mesh) []workload.Node {
	var all []workload.Node
	for _, s := range m.Nodes() {
		all = append(all, workload.Node{Name: s.Name(), On: s})
	}
	return all
}

// TestHistory writes on a mesh of which one server is killed and comes back.
func TestHistory(t *testing.T) {
	m := pgtest.Mesh(t, localpg.Options{Schema: workload.Schema("n1", "n2", "n3"), Conf: workload.Settings()})
	w, err := workload.Start(t.Context(), workload.Options{Nodes: nodes(m), Pace: 2 * time.Millisecond, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	stop := func() workload.Record {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		return w.Stop(ctx)
	}
	defer stop()
	written := func(node string, n int) func() error {
		return func() error {
			if got := w.Committed(node); got < n {
				return fmt.Errorf("%d of %d", got, n)
			}
			return nil
		}
	}
	for _, n := range m.Names() {
		pgtest.Eventually(t, limit, "transactions are committed", written(n, 150))
	}
	if err := m.Kill(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, limit, "the others go on", written("n1", w.Committed("n1")+50))
	if err := m.Node("n2").Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.Names() {
		pgtest.Eventually(t, limit, "all write again", written(n, w.Committed(n)+100))
	}
	r := stop()
	count := map[string]int{}
	for _, x := range r.Transactions {
		count[string(x.Outcome)]++
		count[x.Kind+" "+string(x.Outcome)]++
		if x.Outcome != history.Committed && x.Error != "rolled back on purpose" {
			t.Logf("%s %s %s: %s", x.ID, x.Kind, x.Outcome, x.Error)
		}
	}
	t.Logf("%v; %d samples", count, len(r.Samples))
}
