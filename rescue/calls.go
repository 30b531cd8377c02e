package rescue

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

const (
	// bulkFrom is from how many changes on a call is worth its trouble: T reads
	// and plans the program anew for each.
	bulkFrom = 32
	// callBytes is from where on a batch is worth a call, callWait how long a
	// smaller one may wait for more.
	callBytes = 128 << 10
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

	fits    map[*binding]bool
	program *program
	// load gives the program its arrays; loaded is its text.
	load   *pgconn.StatementDescription
	loaded string
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
	// tx is the transaction that is gathered.
	tx  commit
	dec decoder
	// dead is set by an error that ends the replay: nothing may follow the
	// transaction that failed.
	dead bool
}

func newCalls(a *applier) *calls {
	return &calls{
		applier: a, program: newProgram(), fits: map[*binding]bool{},
		cur: newBatch(), spare: newBatch(), penalty: 1, part: partBytes,
	}
}

func (c *calls) start(lsn topology.LSN, micros int64, same int) {
	c.tx = commit{lsn: lsn, at: micros, same: same}
	c.part, c.failed = partBytes, 0
	c.rows = c.off
	if c.skip > 0 {
		c.skip--
		c.rows = true
	}
}

// change takes a row change of the transaction.
func (c *calls) change(ctx context.Context, ch *change) error {
	return c.ends(c.apply(ctx, ch))
}

// ends notes an error.
func (c *calls) ends(err error) error {
	c.dead = c.dead || err != nil
	return err
}

func (c *calls) apply(ctx context.Context, ch *change) error {
	if !c.rows && !c.clashes.of(ch.b) {
		s, err := c.shape(ctx, ch)
		if err != nil {
			return err
		}
		if s != nil {
			return c.gather(ctx, ch, s)
		}
	}
	if err := c.toRows(ctx); err != nil {
		return err
	}
	if c.clashes.of(ch.b) {
		return c.applier.carefully(ctx, ch, ch.key())
	}
	return c.applier.change(ctx, ch, ch.key())
}

func (c *calls) gather(ctx context.Context, ch *change, s *shape) error {
	if len(c.cur.entries) == 0 {
		c.since = time.Now()
	}
	c.cur.add(ch, s)
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
		if c.cur.open() > 0 {
			if err := c.submitPart(ctx); err != nil {
				return err
			}
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
		c.rows = false
		c.begun()
		return c.applier.finish(ctx)
	}
	if c.cur.open() == 0 {
		return nil // it had no changes
	}
	if len(c.cur.commits) > 0 && c.cur.copying != c.cur.tx.copies() {
		if err := c.submit(ctx); err != nil {
			return err
		}
	}
	c.cur.end(c.program, c.tx)
	if c.cur.size() >= callBytes || time.Since(c.since) >= callWait && !c.busy() {
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
	if err := c.settled(ctx); err != nil {
		return err
	}
	c.begun()
	if len(c.cur.entries) == 0 {
		return nil
	}
	b := c.take()
	err := c.redoRows(ctx, b, 0, len(b.entries))
	c.give(b)
	return err
}

// begun tells the row-by-row applier which transaction it is in.
func (c *calls) begun() {
	if c.applier.lsn != c.tx.lsn {
		c.applier.start(c.tx.lsn, c.tx.at)
	}
}

// settled waits for the whole transactions before the one that is gathered, which
// goes row by row from here.
func (c *calls) settled(ctx context.Context) error {
	if c.rows && c.flying == nil && len(c.cur.entries) == 0 {
		return nil
	}
	c.rows = true
	if len(c.cur.commits) > 0 {
		if err := c.submit(ctx); err != nil {
			return err
		}
	}
	return c.wait(ctx)
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
		if fits, err = c.s.fits(ctx, ch.b); err != nil {
			return nil, err
		}
		c.fits[ch.b] = fits
	}
	if ch.b.shapes == nil {
		ch.b.shapes = map[string]*shape{}
	}
	if !fits || !ch.canRun() || len(c.program.shapes) == maxShapes {
		ch.b.shapes[id] = nil
		return nil, nil //nolint:nilnil // no shape is an answer
	}
	s := c.program.add(ch, c.rule)
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
