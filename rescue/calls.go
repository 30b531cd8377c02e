package rescue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

const (
	// bulkFrom is from how many changes on a transaction is worth a program. The
	// pipeline carries shorter ones faster: T prepares a program's statements
	// anew for each call.
	bulkFrom = 64
	// callBytes is from where on a batch is worth a call, callWait how long a
	// smaller one may wait for more.
	callBytes = 64 << 10
	callWait  = 5 * time.Millisecond
	// partBytes and partRows bound a part of a transaction, which is done in a
	// subtransaction of its own so that a conflict in it can be undone: few of
	// them, because sixty-four make every snapshot of T look into pg_subtrans.
	partBytes    = 1 << 20
	maxPartBytes = 4 << 20
	partRows     = 64 << 10
	// maxPenalty bounds how many transactions go row by row after a program has
	// failed.
	maxPenalty = 4096
)

// calls applies through programs, and through the row-by-row applier what a
// program cannot do.
type calls struct {
	*applier

	shapes map[string]*shape
	list   []*shape
	fits   map[*binding]bool
	// program is the text for the shapes so far, load gives it its arrays.
	program string
	load    *pgconn.StatementDescription
	// off is set when T lets us run no DO block.
	off bool

	cur, spare *batch
	since      time.Time
	flying     *call

	// rows is set while the transaction goes row by row; the next skip ones
	// will, because a program failed: penalty is how many at the next failure.
	rows          bool
	skip, penalty int
	// part bounds the next part of a transaction; failed counts those that failed.
	part, failed int
	lsn          topology.LSN
	at           int64
	dec          decoder
	// dead is set by an error that ends the replay: nothing may follow the
	// transaction that failed.
	dead bool
}

// call is a batch that T is working on.
type call struct {
	b    *batch
	part bool
	done chan error
}

func newCalls(a *applier) *calls {
	return &calls{
		applier: a, shapes: map[string]*shape{}, fits: map[*binding]bool{},
		cur: newBatch(), spare: newBatch(), penalty: 1, part: partBytes,
	}
}

func (c *calls) start(lsn topology.LSN, micros int64) {
	c.lsn, c.at = lsn, micros
	c.part, c.failed = partBytes, 0
	c.applier.start(lsn, micros)
	c.rows = c.off
	if c.skip > 0 {
		c.skip--
		c.rows = true
	}
}

// change takes a row change of the transaction.
func (c *calls) change(ctx context.Context, ch *change, key Key) error {
	return c.ends(c.apply(ctx, ch, key))
}

// ends notes an error.
func (c *calls) ends(err error) error {
	c.dead = c.dead || err != nil
	return err
}

func (c *calls) apply(ctx context.Context, ch *change, key Key) error {
	if !c.rows && !c.clashes.with[ch.b.tab.name] {
		s, err := c.shape(ctx, ch)
		if err != nil {
			return err
		}
		if s != nil {
			return c.gather(ctx, ch, s, key)
		}
	}
	if err := c.toRows(ctx); err != nil {
		return err
	}
	if c.clashes.with[ch.b.tab.name] {
		return c.applier.carefully(ctx, ch, key)
	}
	return c.applier.change(ctx, ch, key)
}

func (c *calls) gather(ctx context.Context, ch *change, s *shape, key Key) error {
	if len(c.cur.entries) == 0 {
		c.since = time.Now()
	}
	c.cur.add(ch, s, key)
	if c.cur.size() < c.part && len(c.cur.entries) < partRows*(c.part/partBytes) {
		return nil
	}
	// The whole transactions first; what is left is the beginning of a long one.
	if len(c.cur.commits) > 0 {
		return c.submit(ctx)
	}
	return c.submitPart(ctx)
}

// finish ends the transaction.
func (c *calls) finish(ctx context.Context) error { return c.ends(c.finished(ctx)) }

func (c *calls) finished(ctx context.Context) error {
	if c.applier.open || c.rows {
		if len(c.cur.entries) > 0 {
			if err := c.submitPart(ctx); err != nil {
				return err
			}
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
		c.rows = false
		return c.applier.finish(ctx)
	}
	if len(c.cur.entries) == c.cur.done() {
		return nil // it had no changes
	}
	if len(c.cur.entries)-c.cur.done() < bulkFrom {
		if err := c.toRows(ctx); err != nil {
			return err
		}
		c.rows = false
		return c.applier.finish(ctx)
	}
	c.cur.end(c.lsn, c.at)
	if c.cur.size() >= callBytes || time.Since(c.since) >= callWait {
		return c.submit(ctx)
	}
	return nil
}

// drain applies every whole transaction and waits for it. A transaction that is
// open stays so.
func (c *calls) drain(ctx context.Context) error { return c.ends(c.drained(ctx)) }

func (c *calls) drained(ctx context.Context) error {
	if c.dead {
		if c.flying == nil {
			return nil
		}
		// Only what T has answered counts, and the error that ended the replay
		// has been told: this one is waited for, so that nobody uses the
		// connection any more.
		late := <-c.flying.done
		c.flying = nil
		_ = late
		return nil
	}
	if len(c.cur.commits) > 0 {
		if err := c.submit(ctx); err != nil {
			return err
		}
	}
	if err := c.wait(ctx); err != nil {
		return err
	}
	return c.applier.drain(ctx)
}

// toRows lets the transaction go on row by row, from what was gathered of it.
func (c *calls) toRows(ctx context.Context) error {
	if c.rows && c.flying == nil && len(c.cur.entries) == 0 {
		return nil
	}
	c.rows = true
	if len(c.cur.commits) > 0 {
		if err := c.submit(ctx); err != nil {
			return err
		}
	}
	if err := c.wait(ctx); err != nil {
		return err
	}
	if len(c.cur.entries) == 0 {
		return nil
	}
	b := c.take()
	err := c.redoRows(ctx, b.entries)
	c.give(b)
	return err
}

// shape finds the change's part of the program, nil when it has none.
func (c *calls) shape(ctx context.Context, ch *change) (*shape, error) {
	c.applier.shape = ch.shape(c.applier.shape)
	if s, ok := ch.b.shapes[string(c.applier.shape)]; ok {
		return s, nil
	}
	id := string(c.applier.shape)
	fits, ok := c.fits[ch.b]
	if !ok {
		// The catalog is read in the session that applies.
		if err := c.drained(ctx); err != nil {
			return nil, err
		}
		var err error
		if fits, err = c.s.fits(ctx, ch.b.tab.name); err != nil {
			return nil, err
		}
		c.fits[ch.b] = fits
	}
	if ch.b.shapes == nil {
		ch.b.shapes = map[string]*shape{}
	}
	if !fits || !ch.canRun() || len(c.list) == maxShapes {
		ch.b.shapes[id] = nil
		return nil, nil //nolint:nilnil // no shape is an answer
	}
	s := ch.program(c.rule, len(c.list)+1)
	c.list = append(c.list, s)
	c.program = ""
	ch.b.shapes[id] = s
	return s, nil
}

// take hands out the gathered batch and begins another.
func (c *calls) take() *batch {
	b := c.cur
	c.cur, c.spare = c.spare, nil
	if c.cur == nil {
		c.cur = newBatch()
	}
	return b
}

func (c *calls) give(b *batch) {
	b.reset()
	c.spare = b
}

// submit sends the whole transactions of the batch; the beginning of another one
// stays.
func (c *calls) submit(ctx context.Context) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	b := c.take()
	rest := b.entries[b.done():]
	if len(rest) > 0 {
		c.since = time.Now()
		for i := range rest {
			ch, err := rest[i].restore(&c.dec)
			if err != nil {
				return c.s.wrap(err)
			}
			c.cur.add(ch, rest[i].shape, rest[i].key)
		}
		b.truncate()
	}
	return c.fly(ctx, &call{b: b})
}

// submitPart sends what there is of a transaction that goes on.
func (c *calls) submitPart(ctx context.Context) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	b := c.take()
	if c.failed > 2 {
		c.rows = true
		err := c.redoRows(ctx, b.entries)
		c.give(b)
		return err
	}
	c.part = min(2*c.part, maxPartBytes)
	return c.fly(ctx, &call{b: b, part: true})
}

// fly lets T work on a batch while the next one is gathered.
func (c *calls) fly(ctx context.Context, f *call) error {
	// Row by row comes before it.
	if err := c.applier.drain(ctx); err != nil {
		return err
	}
	if c.load == nil {
		desc, err := c.s.conn.Prepare(ctx, "healer_load", loadSQL, nil)
		if err != nil {
			return c.s.wrap(err)
		}
		c.load = desc
	}
	if c.program == "" {
		c.program = block(c.list)
	}
	f.done = make(chan error, 1)
	begin := f.part && !c.applier.open
	if f.part {
		c.applier.open = true
	}
	params := f.b.params(c.at)
	program := c.program
	c.flying = f
	go func() { f.done <- c.run(ctx, program, params, f.part, begin) }()
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
		c.tallyAll(f.b.entries, f.b.commits)
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

// redo does row by row what a program could not do.
func (c *calls) redo(ctx context.Context, f *call, failure error) error {
	defer func() { c.give(f.b) }()
	if f.part {
		c.failed++
		if failure != nil {
			if err := c.s.conn.Exec(ctx, "ROLLBACK TO healer; RELEASE healer").Close(); err != nil {
				return errors.Join(c.s.wrap(failure), c.s.wrap(err), c.abort(ctx))
			}
		}
		return c.redoRows(ctx, f.b.entries)
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
	lsn, at, rows := c.lsn, c.at, c.rows
	for i := from; i < len(f.b.commits); i++ {
		if err := c.redoTransaction(ctx, f.b, i); err != nil {
			return err
		}
	}
	c.lsn, c.at, c.rows = lsn, at, rows
	c.applier.start(lsn, at)
	return nil
}

func (c *calls) redoTransaction(ctx context.Context, b *batch, i int) error {
	first := 0
	if i > 0 {
		first = b.commits[i-1].end
	}
	t := b.commits[i]
	c.applier.start(t.lsn, t.at)
	if err := c.redoRows(ctx, b.entries[first:t.end]); err != nil {
		return err
	}
	return c.applier.finish(ctx)
}

func (c *calls) redoRows(ctx context.Context, entries []entry) error {
	for i := range entries {
		ch, err := entries[i].restore(&c.dec)
		if err != nil {
			return c.s.wrap(err)
		}
		if err := c.applier.change(ctx, ch, entries[i].key); err != nil {
			return err
		}
	}
	return nil
}

// committed finds out how many transactions of a failed call T has, and makes the
// session's progress say so.
func (c *calls) committed(ctx context.Context, b *batch) (int, error) {
	got, err := rows(ctx, c.s.conn, "SELECT pg_catalog.current_setting('"+lsnSetting+"', true)")
	if err != nil {
		return 0, c.s.wrap(err)
	}
	n := 0
	if len(got[0][0]) > 0 {
		last, err := topology.ParseLSN(string(got[0][0]))
		if err != nil {
			return 0, c.s.wrap(fmt.Errorf("parameter %s: %w", lsnSetting, err))
		}
		for n < len(b.commits) && b.commits[n].lsn <= last {
			n++
		}
	}
	if n > 0 {
		c.tallyAll(b.entries[:b.commits[n-1].end], b.commits[:n])
	}
	return n, c.abort(ctx)
}

// tallyAll counts what a program has done.
func (c *calls) tallyAll(entries []entry, commits []commit) {
	counts := make([]int64, len(c.list)+1)
	for i := range entries {
		counts[entries[i].shape.code]++
	}
	for _, s := range c.list {
		n := counts[s.code]
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
	if len(commits) > 0 {
		c.report.Applied += int64(len(commits))
		c.s.progress = commits[len(commits)-1].lsn
	}
}
