package compare

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// BenchmarkRepair puts 100,000 rows on a node that lacks them: rows that one
// transaction wrote, and rows that each have one of their own.
func BenchmarkRepair(b *testing.B) {
	for name, insert := range map[string]string{
		"one write":     `insert into t select i, repeat('x', 100) from generate_series(1, 100000) i`,
		"100000 writes": `do $$ begin for i in 1..100000 loop insert into t values (i, repeat('x', 100)); commit; end loop; end $$`,
	} {
		b.Run(name, func(b *testing.B) {
			nodes := benchNodes(b, insert)
			for range b.N {
				start := time.Now()
				r, err := Run(b.Context(), nodes, []Spec{table("t")}, Options{
					Repair: true, Barrier: func(context.Context) error { return nil },
				})
				if err != nil || r.Repaired != 100_000 || r.Result != Equal {
					b.Fatalf("%v, %s, %d repaired", err, r.Result, r.Repaired)
				}
				b.ReportMetric(float64(r.Repaired)/time.Since(start).Seconds(), "rows/s")
			}
		})
	}
}

func benchNodes(b *testing.B, insert string) []Node {
	b.Helper()
	var nodes []Node
	for _, n := range []string{"n1", "n2"} {
		dsn := database(b, n)
		conn, err := pgx.Connect(b.Context(), dsn)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close(b.Context()) //nolint:errcheck // the database goes with the benchmark
		sql := `create table t (id int primary key, v text); set synchronous_commit = off;`
		statements := []string{sql, insert} // on its own: it commits as it goes
		if n == "n2" {
			statements = statements[:1]
		}
		for _, sql := range statements {
			if err := conn.PgConn().Exec(b.Context(), sql).Close(); err != nil {
				b.Fatal(err)
			}
		}
		nodes = append(nodes, node(n, dsn))
	}
	return nodes
}
