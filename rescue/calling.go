package rescue

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// call is a batch that T is working on.
type call struct {
	b    *batch
	part bool
	done chan error
}

// busy reports whether T is working on a call.
func (c *calls) busy() bool { return c.flying != nil && len(c.flying.done) == 0 }

// submit sends the whole transactions of the batch; the beginning of another one
// stays.
func (c *calls) submit(ctx context.Context) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	b := c.take()
	if b.open() > 0 {
		c.since = time.Now()
		b.split(c.cur)
	}
	if len(b.entries) < bulkFrom {
		return c.redo(ctx, &call{b: b}, nil)
	}
	return c.fly(ctx, &call{b: b})
}

// submitPart sends what there is of a transaction that goes on.
func (c *calls) submitPart(ctx context.Context) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	c.begun()
	b := c.take()
	if c.failed > 2 {
		c.rows = true
		err := c.redoRows(ctx, b, 0, len(b.entries))
		c.give(b)
		return err
	}
	b.endPart(c.program, c.tx.at)
	c.part = min(2*c.part, maxPartBytes)
	return c.fly(ctx, &call{b: b, part: true})
}

// fly lets T work on a batch while the next one is gathered.
func (c *calls) fly(ctx context.Context, f *call) error {
	// Row by row comes before it.
	if err := c.applier.drain(ctx); err != nil {
		return err
	}
	f.done = make(chan error, 1)
	begin := f.part && !c.applier.open
	if f.part {
		c.applier.open = true
	}
	if f.b.copying {
		c.flying = f
		go func() { f.done <- c.runCopies(ctx, f, begin) }()
		return nil
	}
	if err := c.prepareLoad(ctx); err != nil {
		return err
	}
	program := c.program.render()
	params := f.b.params(c.program.columns)
	c.flying = f
	go func() { f.done <- c.run(ctx, program, params, f.part, begin) }()
	return nil
}

// prepareLoad prepares what gives the program its arrays, anew when there are more
// of them.
func (c *calls) prepareLoad(ctx context.Context) error {
	sql := c.program.loadSQL()
	if sql == c.loaded {
		return nil
	}
	name := "healer_load_" + strconv.Itoa(c.program.columns)
	desc, err := c.s.conn.Prepare(ctx, name, sql, nil)
	if err != nil {
		return c.s.wrap(err)
	}
	c.load, c.loaded = desc, sql
	return nil
}

// run makes the call. It alone uses the connection until it has returned.
func (c *calls) run(ctx context.Context, program string, params [][]byte, part, begin bool) error {
	exec := func(sql string) error { return c.s.conn.Exec(ctx, sql).Close() }
	if begin {
		if err := exec("BEGIN"); err != nil {
			return err
		}
	}
	if part {
		if err := exec("SAVEPOINT healer"); err != nil {
			return err
		}
	}
	if _, err := c.s.conn.ExecStatement(ctx, c.load, params, nil, nil).Close(); err != nil {
		return err
	}
	if err := exec(program); err != nil {
		return err
	}
	if part {
		return exec("RELEASE healer")
	}
	return nil
}

// wait takes the answer to the call under way.
func (c *calls) wait(ctx context.Context) error {
	f := c.flying
	if f == nil {
		return nil
	}
	c.flying = nil
	err := <-f.done
	if err == nil {
		c.tallyAll(f.b, len(f.b.entries), len(f.b.commits))
		c.give(f.b)
		c.penalty, c.failed = 1, 0
		return nil
	}
	var pg *pgconn.PgError
	if c.s.conn.IsClosed() || !errors.As(err, &pg) {
		c.applier.open = false
		return c.s.wrap(err)
	}
	// The language is missing, or not ours to use.
	c.off = c.off || pg.Code == "42501" || pg.Code == "42704"
	return c.redo(ctx, f, err)
}

// redo does row by row what a program could not do, or what is not worth one.
func (c *calls) redo(ctx context.Context, f *call, failure error) error {
	defer func() { c.give(f.b) }()
	if f.part {
		c.failed++
		if err := c.s.conn.Exec(ctx, "ROLLBACK TO healer; RELEASE healer").Close(); err != nil {
			return errors.Join(c.s.wrap(failure), c.s.wrap(err), c.abort(ctx))
		}
		return c.redoRows(ctx, f.b, 0, len(f.b.entries))
	}
	from := 0
	if failure != nil {
		var err error
		if from, err = c.committed(ctx, f.b); err != nil {
			return err
		}
		c.skip = c.penalty
		c.penalty = min(2*c.penalty, maxPenalty)
	}
	for i := from; i < len(f.b.commits); i++ {
		if err := c.redoTransaction(ctx, f.b, i); err != nil {
			return err
		}
	}
	return nil
}

func (c *calls) redoTransaction(ctx context.Context, b *batch, i int) error {
	first := 0
	if i > 0 {
		first = b.commits[i-1].end
	}
	t := b.commits[i]
	c.applier.start(t.lsn, t.at)
	if err := c.redoRows(ctx, b, first, t.end); err != nil {
		return err
	}
	return c.applier.finish(ctx)
}

// redoRows does entries in the order in which they came.
func (c *calls) redoRows(ctx context.Context, b *batch, from, to int) error {
	for _, e := range b.entries[from:to] {
		m, err := c.dec.decode(b.message(e))
		if err != nil {
			return c.s.wrap(err)
		}
		ch := change{kind: m.kind, b: e.shape.b, old: m.old, new: m.new}
		if err := c.applier.change(ctx, &ch, ch.key()); err != nil {
			return err
		}
	}
	return nil
}

// committed finds out how many transactions of a failed call T has, and makes the
// session's progress say so. The one at the progress may have been aborted when
// its position had been set already; see doubt.go.
func (c *calls) committed(ctx context.Context, b *batch) (int, error) {
	last, err := c.s.readProgress(ctx, false)
	if err != nil {
		return 0, err
	}
	n := 0
	for n < len(b.commits) && b.commits[n].lsn <= last {
		n++
	}
	if n > 0 {
		t := b.commits[n-1]
		has, err := c.s.committed(ctx, t.at, t.same)
		if err != nil {
			return 0, err
		}
		if !has {
			n--
		}
	}
	if n > 0 {
		c.tallyAll(b, b.commits[n-1].end, n)
	}
	return n, c.abort(ctx)
}

// tallyAll counts what a program has done: the first so many changes and
// transactions.
func (c *calls) tallyAll(b *batch, entries, commits int) {
	counts := make([]int64, len(c.program.shapes)+1)
	for _, e := range b.entries[:entries] {
		counts[e.shape.id]++
	}
	for _, s := range c.program.shapes {
		n := counts[s.id]
		if n == 0 {
			continue
		}
		t := c.report.table(s.b.tab.name.String())
		c.report.Rows += n
		switch s.kind {
		case msgInsert:
			t.Inserts += n
		case msgUpdate:
			t.Updates += n
		case msgDelete:
			t.Deletes += n
		}
	}
	if commits > 0 {
		c.report.Applied += int64(commits)
		c.s.progress = b.commits[commits-1].lsn
	}
}
