package workload_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"healer/internal/demo/compare"
	"healer/internal/demo/workload"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitFor waits until cond holds; the test's own deadline bounds it.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func everyNode(w *workload.Workload, ok func(workload.Stats) bool) func() bool {
	return func() bool {
		for _, s := range w.Stats() {
			if !ok(s) {
				return false
			}
		}
		return true
	}
}

// TestMeshStaysEqual writes on a mesh as the demo does, with a server killed and
// a link cut on the way, and finds all nodes equal; then it doctors rows and
// finds just these.
func TestMeshStaysEqual(t *testing.T) {
	ctx := t.Context()
	mesh := pgtest.Mesh(t, localpg.Options{Schema: workload.Schema(), Links: true})
	var nodes []workload.Node
	var all []compare.Node
	for _, s := range mesh.Nodes() {
		nodes = append(nodes, workload.Node{Name: s.Name(), On: s})
		all = append(all, compare.Node{Name: s.Name(), On: s})
	}
	w := workload.New(workload.Options{Nodes: nodes, Pace: 5 * time.Millisecond, Seed: 1})
	w.Start(ctx)
	defer w.Stop()
	waitFor(t, "every node has 100 transactions", everyNode(w, func(s workload.Stats) bool { return s.Transactions > 100 }))

	mesh.Link("n1", "n3").Cut()
	burst, err := w.Burst(ctx, "n1", 500, nil)
	if err != nil {
		t.Fatal(err)
	}
	if burst.Rows < 500 || burst.Rows < 4*burst.Transactions || len(burst.Orders) == 0 {
		t.Errorf("burst is %d rows in %d transactions with %d orders", burst.Rows, burst.Transactions, len(burst.Orders))
	}
	if err := mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := mesh.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.Share("n2", burst.Orders); err != nil {
		t.Fatal(err)
	}

	if err := mesh.Kill(ctx, "n2"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a writer of n2 fails", func() bool { return w.Stats()[1].Failures > 0 })
	if err := mesh.Node("n2").Start(ctx); err != nil {
		t.Fatal(err)
	}
	was := w.Stats()[1].Transactions
	waitFor(t, "n2 is written again", func() bool { return w.Stats()[1].Transactions > was+100 })
	w.Stop()

	if err := mesh.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	res, err := compare.Tables(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Equal() || res.Tables != 3 || res.Rows < 500 {
		t.Fatalf("the mesh is not equal: %+v", res)
	}
	shared, err := localpg.Value[int](ctx, mesh.Node("n3"), `select count(*) from orders where id = any($1) and changed_by = 'n2'`, burst.Orders)
	if err != nil || shared == 0 {
		t.Errorf("n2 has changed %d rows of n1: %v", shared, err)
	}
	doctored(t, mesh, all, res.Rows)
}

// doctored changes rows on single nodes, unseen by the mesh.
func doctored(t *testing.T, mesh *localpg.Mesh, all []compare.Node, rows int64) {
	t.Helper()
	const unseen = `set session_replication_role = replica;
		select pg_replication_origin_create('doctor');
		select pg_replication_origin_session_setup('doctor');`
	for node, sql := range map[string]string{
		"n1": `delete from customers where id = (select min(id) from customers)`,
		"n2": `update orders set note = 'doctored' where id = (select max(id) from orders)`,
		"n3": `insert into order_lines values (-1, 1, 'sku', 1, 1)`,
	} {
		if err := mesh.Exec(t.Context(), node, unseen+sql); err != nil {
			t.Fatal(err)
		}
	}
	res, err := compare.Tables(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	if res.Equal() || res.Differing != 3 || len(res.Differences) != 3 || res.Rows != rows-2 {
		t.Fatalf("three rows were doctored, found: %+v", res)
	}
	got := map[string]string{}
	for _, d := range res.Differences {
		got[d.Table] = d.String()
	}
	for table, wants := range map[string][]string{
		"public.customers":   {" n2=(", " n3=(", "!n1="},
		"public.orders":      {"doctored", " n1=(", " n3=("},
		"public.order_lines": {"(-1,1): n3=(-1,1,sku,1,1.00)", "!n1=", "!n2="},
	} {
		for _, want := range wants {
			unwanted, no := strings.CutPrefix(want, "!")
			if strings.Contains(got[table], unwanted) == no {
				t.Errorf("%s: %q: want %q", table, got[table], want)
			}
		}
	}
}
