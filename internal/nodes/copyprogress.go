package nodes

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"healer/internal/meter"
)

// rowsQuery is about how many rows tables have, by the statistics; of a partitioned one
// its partitions'.
const rowsQuery = `
SELECT to_json(coalesce(sum(greatest(l.reltuples, 0)), 0)::bigint)
FROM unnest($1::text[], $2::text[]) AS t(nsp, rel)
JOIN pg_catalog.pg_namespace n ON n.nspname = t.nsp
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.rel
CROSS JOIN LATERAL (
 SELECT c.oid AS relid WHERE c.relkind <> 'p'
 UNION ALL SELECT p.relid FROM pg_catalog.pg_partition_tree(c.oid) p WHERE c.relkind = 'p' AND p.isleaf) leaf
JOIN pg_catalog.pg_class l ON l.oid = leaf.relid`

// copyMeter shows how far the copying of tables is.
type copyMeter struct {
	*meter.Meter
	rows atomic.Int64
}

func (c *copyMeter) moved(rows int64) { c.rows.Add(rows) }

// showCopy begins to show it.
func (r *rebuild) showCopy(ctx context.Context) (*copyMeter, error) {
	var schemas, names []string
	for _, t := range r.tables {
		schemas, names = append(schemas, t.Schema), append(names, t.Name)
	}
	var total int64
	if err := r.Servers[r.source].JSON(ctx, &total, rowsQuery, schemas, names); err != nil {
		return nil, err
	}
	c := &copyMeter{}
	c.Meter = meter.Start(r.out, func(took time.Duration, bar bool) string { return copyLine(c.rows.Load(), total, took, bar) })
	return c, nil
}

// copyLine is one line of progress; the total is an estimate, 0 where nothing is known.
func copyLine(rows, total int64, took time.Duration, bar bool) string {
	text := fmt.Sprintf("%d rows copied, %d/s", rows, int64(float64(rows)/max(took.Seconds(), 0.001)))
	if total == 0 {
		return text
	}
	done, all := float64(rows), float64(total)
	return meter.Part(done, all, bar) + "  " + text + meter.Left(done, all, took)
}
