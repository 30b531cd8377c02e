package compare

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// tally is how often a row occurs on a node. Copies of a row have no identity, so
// the sum of their xmin tells whether they are the same ones as before.
type tally struct {
	copies   int64
	versions string
}

// reading is how often some rows, by their digests, occur on each node.
type reading struct {
	tallies []map[string]tally
	// texts shows the rows.
	texts []map[string]string
}

func newReading(nodes int) *reading {
	r := &reading{}
	for range nodes {
		r.tallies = append(r.tallies, map[string]tally{})
		r.texts = append(r.texts, map[string]string{})
	}
	return r
}

// take adds what a chunk has: digest, copies, sum of xmin, text.
func (r *reading) take(at int, rows [][][]byte) error {
	for _, row := range rows {
		n, err := strconv.ParseInt(string(row[1]), 10, 64)
		if err != nil {
			return fmt.Errorf("number of copies: %w", err)
		}
		id := string(row[0])
		t := r.tallies[at][id]
		t.copies += n
		// Chunks come in the same order every time.
		t.versions += string(row[2]) + " "
		r.tallies[at][id] = t
		r.texts[at][id] = string(row[3])
	}
	return nil
}

// apart reports whether the nodes have different numbers of copies of a row.
func (r *reading) apart(id string) bool {
	for _, t := range r.tallies[1:] {
		if t[id].copies != r.tallies[0][id].copies {
			return true
		}
	}
	return false
}

// same reports whether all nodes have the copies they had before.
func (r *reading) same(id string, before *reading) bool {
	for i, t := range r.tallies {
		if t[id] != before.tallies[i][id] {
			return false
		}
	}
	return true
}

func (r *reading) text(id string) string {
	for _, t := range r.texts {
		if s, ok := t[id]; ok {
			return s
		}
	}
	return ""
}

// suspects returns the rows, by digest, whose numbers differ.
func (r *reading) suspects() []string {
	ids := map[string]struct{}{}
	for _, t := range r.tallies {
		for id := range t {
			if r.apart(id) {
				ids[id] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// multiset compares how often each row occurs.
func (j *job) multiset(ctx context.Context) error {
	return j.byBucket(ctx, func(c *crew, n int, group []int) error {
		found := newReading(len(j.rels))
		sql := func(r *relation, ch chunk) string { return r.copiesSQL(ch, n) }
		if err := j.scan(ctx, c, sql, found.take, intArray(group)); err != nil {
			return err
		}
		return j.settleCopies(ctx, c, found)
	})
}

// copyRounds bounds how often a table without a key is read again for rows that are
// being written: each time all of it is read.
const copyRounds = 5

// settleCopies reads the suspects again behind barriers. Only numbers that differ
// twice, of the same versions, are a difference.
func (j *job) settleCopies(ctx context.Context, c *crew, before *reading) error {
	open := before.suspects()
	for round := 0; len(open) > 0 && round < min(copyRounds, j.opts.Rounds); round++ {
		if err := j.opts.Barrier(ctx); err != nil {
			return fmt.Errorf("barrier: %w", err)
		}
		now, err := j.reread(ctx, c, open)
		if err != nil {
			return err
		}
		var again []string
		for _, id := range open {
			switch {
			case !now.apart(id):
			case now.same(id, before):
				j.found(j.copies(now, id, "differs"))
			default:
				again = append(again, id)
			}
		}
		open, before = again, now
	}
	for _, id := range open {
		j.found(j.copies(before, id, "unsettled"))
	}
	return nil
}

// reread counts some rows in one snapshot of each node: a row that moves while the
// table is read in chunks is neither missed nor seen twice.
func (j *job) reread(ctx context.Context, c *crew, ids []string) (*reading, error) {
	r := newReading(len(j.rels))
	begin := func(ctx context.Context, at int) error {
		_, err := c.ask(ctx, at, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
		return err
	}
	end := func(ctx context.Context, at int) error {
		_, err := c.ask(ctx, at, "COMMIT")
		return err
	}
	if err := c.each(ctx, begin); err != nil {
		return nil, err
	}
	sql := func(rel *relation, ch chunk) string { return rel.copiesSQL(ch, 0) }
	if err := j.scan(ctx, c, sql, r.take, []byte("{"+strings.Join(ids, ",")+"}")); err != nil {
		return nil, err
	}
	return r, c.each(ctx, end)
}

// copies renders a difference in numbers.
func (j *job) copies(r *reading, id, state string) Difference {
	d := Difference{Table: j.spec.Name.String(), Row: r.text(id), State: state}
	for i, n := range j.nodes {
		v := Version{Node: n.Name, Copies: r.tallies[i][id].copies}
		if v.Copies > 0 {
			v.Digest = id
		}
		d.Versions = append(d.Versions, v)
	}
	return d
}
