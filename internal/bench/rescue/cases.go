package main

import (
	"fmt"
	"math"
)

// workload is a gap: what the lost node committed after the laggard's progress.
type workload struct {
	name string
	// target is the ratio to reach.
	target float64
	schema string
	// seed is what everyone had before the gap; empty is an empty table.
	seed string
	// gap makes the gap, with n transactions or rows as the name says.
	gap func(n int) string
	n   int
}

const plainTable = `create table t (id int primary key, v int not null, note text)`

// workloads are the gaps that are measured.
func workloads() []workload {
	return []workload{
		{
			name: "200,000 transactions of 1 insert", target: 1, n: 200_000, schema: plainTable,
			gap: func(n int) string {
				return loop(n, `insert into t values (i, i, 'row ' || i); commit;`)
			},
		},
		{
			// New rows, and rows of the seed that are changed or deleted, by turns.
			name: "50,000 transactions of 10 mixed changes", target: 2, n: 50_000, schema: plainTable,
			seed: `insert into t select i, i, 'seed ' || i from generate_series(1, 300000) i`,
			gap: func(n int) string {
				return loop(n, `
					insert into t values (1000000 + i * 4, i, 'new ' || i);
					update t set v = -i where id = i * 6;
					insert into t values (1000001 + i * 4, i, 'new ' || i);
					update t set note = 'changed ' || i where id = i * 6 - 1;
					delete from t where id = i * 6 - 2;
					insert into t values (1000002 + i * 4, i, null);
					update t set v = i, note = null where id = i * 6 - 3;
					update t set v = v + 1 where id = 1000000 + i * 4;
					insert into t values (1000003 + i * 4, i, 'new ' || i);
					delete from t where id = i * 6 - 4;
					commit;`)
			},
		},
		{
			name: "1,000 transactions of 1,000 inserts", target: 4, n: 1000, schema: plainTable,
			gap: func(n int) string {
				return loop(n, `insert into t select j, i, 'row ' || j from generate_series(i * 1000, i * 1000 + 999) j; commit;`)
			},
		},
		{
			name: "1 transaction of 1,000,000 inserts", target: 4, n: 1_000_000, schema: plainTable,
			gap: func(n int) string {
				return fmt.Sprintf(`insert into t select i, i, 'row ' || i from generate_series(1, %d) i`, n)
			},
		},
		{
			name: "1 transaction of 500,000 updates, then 500,000 deletes", target: 2, n: 500_000, schema: plainTable,
			seed: `insert into t select i, i, 'seed ' || i from generate_series(1, 1000000) i`,
			gap: func(n int) string {
				return fmt.Sprintf(`begin; update t set v = v + 1, note = 'changed' where id <= %d;
					delete from t where id > %d and id <= %d; commit`, n, 500_000, 500_000+n)
			},
		},
	}
}

// loop runs SQL that commits, with i from 1 to n.
func loop(n int, body string) string {
	return fmt.Sprintf(`do $$ begin for i in 1..%d loop %s end loop; end $$`, n, body)
}

// scaled is n times the factor, at least 1.
func (w workload) scaled(factor float64) int {
	return int(math.Max(1, math.Round(float64(w.n)*factor)))
}
