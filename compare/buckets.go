package compare

import (
	"context"
	"strconv"
	"strings"

	"healer/rescue"
)

// listed is how many rows of differing buckets are held in memory at once.
const listed = 100_000

// scan reads the table in the order of storage on all nodes at the same time, each
// by itself, chunk by chunk, and hands the rows of each statement to take, which is
// called for different nodes at the same time.
func (j *job) scan(ctx context.Context, c *crew, sql func(r *relation, ch chunk) string, take func(at int, rows [][][]byte) error, params ...[]byte) error {
	return c.each(ctx, func(ctx context.Context, at int) error {
		for _, ch := range j.rels[at].def.chunks(j.sizes.full) {
			got, err := c.ask(ctx, at, sql(j.rels[at], ch), params...)
			if err != nil {
				return err
			}
			if err := take(at, got); err != nil {
				return err
			}
			if err := rest(ctx, j.opts.Pause); err != nil {
				return err
			}
		}
		return nil
	})
}

// bucketSums reads all of the table into sums of n buckets for each node.
func (j *job) bucketSums(ctx context.Context, c *crew, n int) ([]map[int]sum, error) {
	all := make([]map[int]sum, len(j.rels))
	for i := range all {
		all[i] = map[int]sum{}
	}
	err := j.scan(ctx, c, func(r *relation, ch chunk) string { return r.bucketsSQL(ch, n) }, func(at int, rows [][][]byte) error {
		var seen int64
		for _, row := range rows {
			b, err := strconv.Atoi(string(row[0]))
			if err != nil {
				return err
			}
			s, err := parseSum(row[1], row[2], row[3])
			if err != nil {
				return err
			}
			all[at][b] = all[at][b].add(s)
			seen += s.rows
		}
		j.counted(at, seen)
		return nil
	})
	return all, err
}

// inBuckets compares a table by classes of the hash of its key.
func (j *job) inBuckets(ctx context.Context) error {
	return j.byBucket(ctx, func(c *crew, n int, group []int) error {
		found := newListing(len(j.rels))
		sql := func(r *relation, ch chunk) string { return r.membersSQL(ch, n) }
		err := j.scan(ctx, c, sql, func(at int, rows [][][]byte) error {
			for _, row := range rows {
				found.add(at, string(row[0]), keyOf(row[1:]))
			}
			return nil
		}, intArray(group))
		if err != nil {
			return err
		}
		return j.settle(ctx, found.differing())
	})
}

// byBucket sums all buckets, and has look go into groups of those that differ.
func (j *job) byBucket(ctx context.Context, look func(c *crew, n int, group []int) error) error {
	c := j.crew()
	defer c.close(ctx)
	n := buckets(j.estimate())
	sums, err := j.bucketSums(ctx, c, n)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.report.Blocks += int64(n)
	j.mu.Unlock()
	for _, group := range suspects(sums, listed) {
		if j.enough() {
			j.mu.Lock()
			j.report.Unexplored += int64(len(group))
			j.mu.Unlock()
			continue
		}
		if err := look(c, n, group); err != nil {
			return err
		}
	}
	return nil
}

// settle has rows judged that were not the same: with a key that is rescue's.
func (j *job) settle(ctx context.Context, keys []rescue.Key) error {
	if len(keys) == 0 {
		return nil
	}
	j.settling.Lock()
	defer j.settling.Unlock()
	j.pending = append(j.pending, keys...)
	batch := settleBatch
	if !j.opts.Repair {
		// So as to know soon when it is enough.
		batch = min(batch, j.opts.MaxDifferences)
	}
	if len(j.pending) < batch {
		return nil
	}
	return j.flush(ctx)
}

func intArray(ns []int) []byte {
	parts := make([]string, len(ns))
	for i, n := range ns {
		parts[i] = strconv.Itoa(n)
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}
