package compare

import (
	"context"

	"golang.org/x/sync/errgroup"

	"healer/rescue"
)

// ranges compares a table by ranges of its key: one goroutine walks along the keys
// of the node with the most rows, others compare the blocks it finds.
func (j *job) ranges(ctx context.Context) error {
	lead := 0
	for i, r := range j.rels {
		if r.def.Rows > j.rels[lead].def.Rows {
			lead = i
		}
	}
	blocks := make(chan segment)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(blocks)
		c := j.crew()
		defer c.close(ctx)
		return segment{}.walk(0, j.bounds(ctx, c, lead, j.sizes.block), func(s segment) error {
			select {
			case blocks <- s:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	for range j.opts.Concurrency {
		g.Go(func() error {
			c := j.crew()
			defer c.close(ctx)
			for s := range blocks {
				if err := j.visit(ctx, c, s); err != nil {
					return err
				}
				if err := rest(ctx, j.opts.Pause); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// bounds finds, on one node, the key that is so many rows into a segment.
func (j *job) bounds(ctx context.Context, c *crew, at int, step int64) func(segment) (rescue.Key, error) {
	return func(s segment) (rescue.Key, error) {
		sql, params := j.rels[at].boundSQL(s, step)
		got, err := c.ask(ctx, at, sql, params...)
		if err != nil || len(got) == 0 {
			return nil, err
		}
		return keyOf(got[0]), nil
	}
}

func keyOf(values [][]byte) rescue.Key {
	key := make(rescue.Key, len(values))
	for i, v := range values {
		key[i] = string(v)
	}
	return key
}

// visit compares one segment, and goes into it where it differs.
func (j *job) visit(ctx context.Context, c *crew, s segment) error {
	sums := make([]sum, len(j.rels))
	err := c.each(ctx, func(ctx context.Context, at int) (err error) {
		sql, params := j.rels[at].sumSQL(s, j.sizes.full)
		got, err := c.ask(ctx, at, sql, params...)
		if err != nil {
			return err
		}
		sums[at], err = parseSum(got[0][0], got[0][1], got[0][2])
		return err
	})
	if err != nil {
		return err
	}
	verb, at, step := j.sizes.next(s, sums)
	switch {
	case verb == leave:
		j.passed(sums, 0)
		return nil
	case j.enough():
		j.passed(sums, 1)
		return nil
	case verb == narrow:
		return s.walk(s.depth+1, j.bounds(ctx, c, at, step), func(part segment) error { return j.visit(ctx, c, part) })
	}
	return j.list(ctx, c, s)
}

// list compares the rows of a segment.
func (j *job) list(ctx context.Context, c *crew, s segment) error {
	found := newListing(len(j.rels))
	err := c.each(ctx, func(ctx context.Context, at int) error {
		sql, params := j.rels[at].rowsSQL(s)
		got, err := c.ask(ctx, at, sql, params...)
		for _, row := range got {
			found.add(at, string(row[0]), keyOf(row[1:]))
		}
		return err
	})
	if err != nil {
		return err
	}
	j.passed(found.sums(), 0)
	return j.settle(ctx, found.differing())
}

// listing is the rows of some blocks as each node has them.
type listing struct {
	digests []map[string]string
	keys    []map[string]rescue.Key
}

func newListing(nodes int) *listing {
	l := &listing{}
	for range nodes {
		l.digests = append(l.digests, map[string]string{})
		l.keys = append(l.keys, map[string]rescue.Key{})
	}
	return l
}

// add may be called for different nodes at the same time.
func (l *listing) add(node int, digest string, key rescue.Key) {
	id := key.ID()
	l.digests[node][id] = digest
	l.keys[node][id] = key
}

// sums has the numbers of rows only.
func (l *listing) sums() []sum {
	out := make([]sum, len(l.digests))
	for i, d := range l.digests {
		out[i].rows = int64(len(d))
	}
	return out
}

func (l *listing) differing() []rescue.Key {
	ids := differing(l.digests)
	out := make([]rescue.Key, len(ids))
	for i, id := range ids {
		for _, keys := range l.keys {
			if k, ok := keys[id]; ok {
				out[i] = k
				break
			}
		}
	}
	return out
}
