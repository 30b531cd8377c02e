package workload_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"healer/chaos/check"
	"healer/chaos/history"
	"healer/chaos/snapshot"
	"healer/chaos/workload"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
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

// TestHistory writes on a mesh of which one server is killed and comes back: no checker
// has anything against it. Then single servers are spoiled, and the checkers find that.
func TestHistory(t *testing.T) {
	m := pgtest.Mesh(t, localpg.Options{Schema: workload.Schema("n1", "n2", "n3"), Conf: workload.Settings()})
	start := time.Now()
	w, err := workload.Start(t.Context(), workload.Options{Nodes: nodes(m), Pace: 2 * time.Millisecond, Seed: 1, Start: start, LargeRows: 150, Rates: workload.Rates{
		Change: 30, Collide: 8, Large: 5, Prepared: 8, Truncate: 5, Read: 8, Rollback: 8,
	}})
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
		pgtest.Eventually(t, limit, "transactions are committed", written(n, 100))
	}
	if err := m.Kill(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, limit, "the others go on", written("n1", w.Committed("n1")+30))
	if err := m.Node("n2").Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.Names() {
		pgtest.Eventually(t, limit, "all write again", written(n, w.Committed(n)+50))
	}
	r := stop()
	for _, x := range r.Transactions {
		if x.Outcome != history.Committed && x.Error != "rolled back on purpose" {
			t.Logf("%s %s %s: %s", x.ID, x.Kind, x.Outcome, x.Error)
		}
	}
	kinds := map[string]int{}
	others := 0
	for _, x := range r.Transactions {
		kinds[x.Kind]++
		for _, o := range x.Operations {
			if o.Table == "item" && o.Key[:1] != x.Node[1:] {
				others++
			}
		}
	}
	for _, k := range []string{"open", "transfer", "change", "large", "prepared", "truncate", "read", "rollback"} {
		if kinds[k] == 0 {
			t.Errorf("there was no transaction of the kind %s: %v", k, kinds)
		}
	}
	if others == 0 {
		t.Error("nobody wrote a row of another node's")
	}
	t.Logf("%v; %d writes of others' rows; %d samples", kinds, others, len(r.Samples))
	if err := m.WaitCaughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	judged := run(t, m, start, r)
	if len(judged.Servers[0].Tables["ledger"]) == 0 {
		t.Error("nobody wrote into the table that has a key")
	}
	for _, v := range check.Check(judged) {
		t.Errorf("%s: %s", v.Checker, v.Detail)
	}
	spoil(t, m, start, r)
}

// run is what is known of the mesh.
func run(t *testing.T, m *localpg.Mesh, start time.Time, r workload.Record) check.Run {
	t.Helper()
	out := check.Run{
		Start: start, Length: time.Since(start), Nodes: m.Names(), Transactions: r.Transactions, Samples: r.Samples,
	}
	reader := snapshot.Reader{Nodes: m.Names(), Namespace: workload.Namespace, Provider: func(node, subscription string) string {
		for _, n := range m.Names() {
			if localpg.SubscriptionName(node, n) == subscription {
				return n
			}
		}
		return ""
	}}
	for _, s := range m.Nodes() {
		conn, err := s.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := reader.Server(t.Context(), s.Name(), conn)
		_ = conn.Close(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out.Servers = append(out.Servers, got)
	}
	return out
}

// spoil changes single servers, unseen by the mesh, and finds what it did.
func spoil(t *testing.T, m *localpg.Mesh, start time.Time, r workload.Record) {
	t.Helper()
	const unseen = `set session_replication_role = replica;
		select pg_replication_origin_create('spoiler');
		select pg_replication_origin_session_setup('spoiler');
		alter table healer_chaos.journal replica identity full;`
	want := map[string]string{
		"lost_commit": `delete from healer_chaos.journal where (node, client, sequence) = (select 'n1', 0, max(sequence) from healer_chaos.journal where node = 'n1' and client = 0)`,
		"twice":       `insert into healer_chaos.journal select * from healer_chaos.journal where (node, client, sequence) = (select 'n1', 1, min(sequence) from healer_chaos.journal where node = 'n1' and client = 1)`,
		"sums":        `update healer_chaos.account set balance = balance + 1 where node = 'n2' and id = 1`,
		"equal":       `delete from healer_chaos.item where id = (select min(id) from healer_chaos.item)`,
		"leaks":       `alter subscription ` + localpg.SubscriptionName("n1", "n2") + ` disable`,
		"phantom":     `insert into healer_chaos.journal values ('n3', 0, 999999, 0, 1)`,
		"atomic":      `delete from healer_chaos.journal where node = 'n3' and client = 1 and op = 1 and sequence > 10`,
	}
	sql := unseen
	for _, s := range want {
		sql += s + ";"
	}
	if err := m.Exec(t.Context(), "n1", sql); err != nil {
		t.Fatal(err)
	}
	conn, err := m.Node("n1").Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), `select pg_advisory_lock($1), pg_advisory_lock(1)`, topology.RecoveryLock("n2")); err != nil {
		t.Fatal(err)
	}
	spoiled := run(t, m, start, r)
	if left := spoiled.Servers[0].Left; len(left.Locks) != 1 || !strings.HasPrefix(left.Locks[0], "of the recovery of n2, held by ") {
		t.Errorf("locks %q", left.Locks)
	}
	found := map[string]bool{}
	for _, v := range check.Check(spoiled) {
		found[v.Checker] = true
	}
	for name := range want {
		if !found[name] {
			t.Errorf("what %s is for was not found: %v", name, found)
		}
	}
}
