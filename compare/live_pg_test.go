package compare

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// TestLiveWriters compares a mesh while both nodes write: what is on its way is
// never a difference, and the rows that were doctored always are.
func TestLiveWriters(t *testing.T) {
	m := pgtest.Mesh(t, localpg.Options{Nodes: 2, Schema: []string{
		`create table keyed (id int primary key, v text)`,
		`create table worded (id text primary key, v int)`,
		`create table loose (v text)`, `alter table loose replica identity full`,
	}})
	do := func(node, sql string) {
		t.Helper()
		if err := m.Exec(t.Context(), node, sql); err != nil {
			t.Fatal(err)
		}
	}
	do("n1", `insert into keyed select i, 'seed' from generate_series(1, 4000) i`)
	do("n1", `insert into worded select 'k' || i, i from generate_series(1, 1000) i`)
	do("n1", `insert into loose select 'seed ' || i from generate_series(1, 500) i`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	// Nobody writes the rows with these keys but this.
	do("n2", `set session_replication_role = replica; select pg_replication_origin_create('doctor');
		select pg_replication_origin_session_setup('doctor');
		update keyed set v = 'doctored' where id = 3000; delete from worded where id = 'k999'; insert into loose values ('alone')`)
	stop := write(t, m)
	defer stop()
	var nodes []Node
	for _, n := range m.Names() {
		nodes = append(nodes, Node{Name: n, Connect: func(ctx context.Context) (*pgconn.PgConn, error) {
			return pgconn.Connect(ctx, m.Node(n).DSN())
		}})
	}
	for range 3 {
		r, err := Run(t.Context(), nodes, []Spec{table("keyed"), table("loose"), table("worded")}, Options{
			BlockRows: 200, Barrier: func(ctx context.Context) error { return m.WaitCaughtUp(ctx) },
		})
		if err != nil {
			t.Fatal(err)
		}
		wantBrief(t, r, "public.keyed [3000] n1:1 n2:1 differs", "public.loose (alone) n1:0 n2:1 differs",
			"public.worded [k999] n1:1 n2:0 differs")
		t.Logf("%d rows in %.1f s, %+v", r.Rows, r.Seconds, r.Tables)
	}
	if n := stop(); n < 10 {
		t.Errorf("only %d transactions were written meanwhile: this shows nothing", n)
	}
}

// write has both nodes insert, update and delete, each its own keys, until the
// function returned is called, which returns the number of transactions.
func write(t *testing.T, m *localpg.Mesh) func() int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	counts := make([]int, 2)
	var wg sync.WaitGroup
	for i, name := range m.Names() {
		conn, err := pgconn.Connect(ctx, m.Node(name).DSN())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer conn.Close(context.WithoutCancel(ctx))
			for n := 0; ctx.Err() == nil; n++ {
				err := conn.Exec(ctx, fmt.Sprintf(`
					update keyed set v = '%[2]d' where id %% 2 = %[1]d and id %% 97 = %[2]d %% 97 and id < 2900;
					delete from keyed where id = 10000 + %[2]d * 2 + %[1]d - 40;
					insert into keyed values (10000 + %[2]d * 2 + %[1]d, 'new') on conflict do nothing;
					update worded set v = v + 1 where id = 'k' || (1 + 2 * (%[2]d %% 400) + %[1]d);
					insert into loose values ('n%[1]d %[2]d');
					delete from loose where v = 'n%[1]d ' || (%[2]d - 5)`, i, n)).Close()
				if err == nil {
					counts[i]++
				}
			}
		})
	}
	return func() int {
		cancel()
		wg.Wait()
		return counts[0] + counts[1]
	}
}
