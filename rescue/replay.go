package rescue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"healer/topology"
)

// source yields the messages of a stream, each valid until the next call, and
// io.EOF at its end.
type source interface {
	next(ctx context.Context) (message, error)
	// extend moves the end of the stream, never back.
	extend(until topology.LSN)
}

// target applies changes; applier is the real one.
type target interface {
	// start begins a transaction; same counts those in a row that have its time.
	start(lsn topology.LSN, micros int64, same int)
	change(ctx context.Context, c *change) error
	finish(ctx context.Context) error
	drain(ctx context.Context) error
}

// Replay carries the gap over: it reads the stream to its end, applies on T, in
// F's order, the transactions of the gap that T's progress does not cover yet, and
// moves T's progress to the watermark, durably. Touched has the keys of the whole
// gap, including what an earlier attempt applied.
//
// After an error T has a prefix of the gap, and its progress says which: a new
// session and a new stream of the same clone carry on. A permanent Fault means
// that they would fail in the same way until its remedy is applied. The report
// is of this attempt alone, and valid with an error too.
func Replay(ctx context.Context, s *Session, stream *Stream, gap Gap) (Report, *Touched, error) {
	report := Report{From: s.progress, To: s.progress}
	known := &clashes{with: map[topology.TableName]bool{}, settled: map[string]bool{}, outcomes: map[moment]*outcome{}}
	for {
		touched, err := pass(ctx, s, stream, gap, &report, known)
		report.To = s.progress
		if !errors.Is(err, errAgain) {
			return report, touched, err
		}
		if stream, err = gap.Again(ctx); err != nil {
			return report, nil, err
		}
		// The statements of the pass before have the names of this one's.
		if err := s.conn.Exec(ctx, "DEALLOCATE ALL").Close(); err != nil {
			return report, nil, s.wrap(err)
		}
		report.anew()
	}
}

// errAgain ends a pass over the gap behind which there is to be another.
var errAgain = errors.New("the gap is read again")

// pass reads the gap once.
func pass(ctx context.Context, s *Session, stream *Stream, gap Gap, report *Report, known *clashes) (*Touched, error) {
	app, err := newApplier(ctx, s, report)
	if err != nil {
		return nil, err
	}
	r := newReplay(gap, s.target.Node, s.progress, newCalls(app), s.table)
	r.committed = s.committed
	r.report = report
	r.touched = newTouchedIn(gap.Spill)
	r.clashes, app.clashes = known, known
	known.removed, known.kept = r.displaced, r.keptOff
	r.progress = func() topology.LSN { return s.progress }
	err = r.run(ctx, stream)
	report.Bytes += r.volume.reached(s.progress)
	if err == nil {
		err = s.Reach(ctx, gap.Watermark)
	}
	if err == nil && gap.Settle != nil {
		err = r.settle(ctx, stream)
	}
	report.Keys = r.touched.Mode()
	if err == nil {
		return r.touched, nil
	}
	var c *clash
	if errors.As(err, &c) {
		again, cerr := r.clashed(ctx, s, c)
		switch {
		case again:
			err = errAgain
		case cerr != nil:
			err = cerr
		default:
			err = c.fault
		}
	}
	return nil, errors.Join(err, r.touched.Close())
}

// table reads a table of T, once.
func (s *Session) table(ctx context.Context, name topology.TableName) (*table, error) {
	if t, ok := s.tables[name]; ok {
		return t, nil
	}
	t, err := readTable(ctx, s.conn, name)
	if err != nil {
		return nil, s.wrap(err)
	}
	s.tables[name] = t
	return t, nil
}

// replay filters the stream. It does no I/O of its own.
type replay struct {
	gap     Gap
	node    string
	applied topology.LSN // T's progress when the replay began
	tables  map[topology.TableName]bool
	target  target
	catalog func(context.Context, topology.TableName) (*table, error)
	// committed tells whether T really has a transaction; see doubt.go.
	committed func(ctx context.Context, micros int64, n int) (bool, error)
	// progress is T's, as far as T has answered; volume what is on its way there.
	progress func() topology.LSN
	volume   volume
	report   *Report
	touched  *Touched
	clashes  *clashes

	rels  map[uint32]*relation
	bound map[uint32]*binding
	// last is the last origin LSN of F that the stream has shown.
	last topology.LSN
	// same counts the transactions of the gap in a row, with changes of T's
	// tables, that have the commit timestamp lastTime.
	same     int
	lastTime int64
	tx       transaction
	row      change
	// oldID and newID are the encoded keys of the row, before and after.
	oldID, newID []byte
}

// transaction is the one that is being read.
type transaction struct {
	lsn    topology.LSN
	time   int64
	origin string
	// mine transactions belong to the gap; those to apply are beyond T's
	// progress as well.
	mine, apply bool
	// touched is set by the first change of one of T's tables; changes counts them.
	touched bool
	changes int
	bytes   int64
}

func newReplay(gap Gap, node string, progress topology.LSN, to target,
	catalog func(context.Context, topology.TableName) (*table, error),
) *replay {
	r := &replay{
		gap: gap, node: node, applied: progress, target: to, catalog: catalog,
		tables: map[topology.TableName]bool{}, report: &Report{}, touched: newTouched(),
		progress: func() topology.LSN { return progress },
		rels:     map[uint32]*relation{}, bound: map[uint32]*binding{},
	}
	for _, t := range gap.Tables {
		r.tables[t] = true
	}
	return r
}

func (r *replay) run(ctx context.Context, from source) error {
	for {
		m, err := from.next(ctx)
		if errors.Is(err, io.EOF) {
			return r.target.drain(ctx)
		}
		if err == nil {
			err = r.handle(ctx, m)
		}
		if err != nil {
			// What was complete before it is not lost; what is not is aborted
			// with the session.
			return errors.Join(err, r.target.drain(ctx))
		}
	}
}

// settle reads on to where T can have skipped a change for lack of the gap.
func (r *replay) settle(ctx context.Context, from source) error {
	until, err := r.awaitSettled(ctx)
	if err != nil {
		return fmt.Errorf("settle %s: %w", r.node, err)
	}
	from.extend(until)
	return r.run(ctx, from)
}

func (r *replay) handle(ctx context.Context, m message) error {
	switch m.kind {
	case msgBegin:
		r.tx = transaction{time: m.time}
	case msgOrigin:
		return r.origin(m)
	case msgCommit:
		if r.tx.apply {
			return r.finish(ctx)
		}
	case msgRelation:
		r.rels[m.rel.id] = m.rel
		delete(r.bound, m.rel.id)
	case msgInsert, msgUpdate, msgDelete:
		if rel := r.rels[m.relID]; rel != nil && r.gap.Queue.Name != "" && rel.table == r.gap.Queue {
			return r.queued(ctx, rel, m)
		}
		if r.tx.mine {
			return r.carry(ctx, m)
		}
		return r.watch(ctx, m)
	case msgTruncate:
		return r.truncate(ctx, m)
	}
	return nil
}

// origin decides what becomes of the transaction. The server sends it right
// after the BEGIN.
func (r *replay) origin(m message) error {
	r.tx.origin, r.tx.lsn = m.origin, m.lsn
	if m.origin != r.gap.SourceOrigin {
		return nil
	}
	if m.lsn <= r.last {
		return &topology.Fault{
			Class: topology.Permanent, Code: "origin_regressed", Node: r.gap.Source,
			Err: fmt.Errorf("after transaction %s of %s its log has %s: the origin's positions were used twice",
				r.last, r.gap.Origin, m.lsn),
			Hint: "compare the survivors by hand and rebuild the node that is behind",
		}
	}
	r.last = m.lsn
	r.tx.mine = r.gap.has(m.origin, m.lsn)
	r.tx.apply = r.tx.mine && m.lsn > r.applied
	return nil
}

// binding returns how a relation is applied, nil when T does not replicate it.
func (r *replay) binding(ctx context.Context, id uint32) (*binding, error) {
	if b, ok := r.bound[id]; ok {
		return b, nil
	}
	rel, ok := r.rels[id]
	if !ok {
		return nil, r.malformed("a change of a table that was not described")
	}
	if !r.tables[rel.table] {
		r.bound[id] = nil
		return nil, nil //nolint:nilnil // not T's business is an answer
	}
	// The catalog is read in the session that applies.
	if err := r.target.drain(ctx); err != nil {
		return nil, err
	}
	tab, err := r.catalog(ctx, rel.table)
	if err != nil {
		return nil, err
	}
	b, err := bind(r.node, rel, tab)
	if err != nil {
		return nil, err
	}
	r.bound[id] = b
	return b, nil
}

// carry takes a change of the gap: its keys are touched, and it is applied
// unless T has it already.
func (r *replay) carry(ctx context.Context, m message) error {
	b, err := r.binding(ctx, m.relID)
	if err != nil {
		return err
	}
	if b == nil {
		r.leftOut(m.relID)
		return nil
	}
	c, id, err := r.change(b, m)
	if err != nil {
		return err
	}
	if pass, err := r.gap.Sift.passes(ctx, c); err != nil {
		return err
	} else if !pass {
		r.leftOut(m.relID)
		return nil
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	r.touch(c, id)
	r.tx.changes++
	r.tx.bytes += int64(len(m.raw))
	r.remember(c)
	if r.touched.err != nil || !r.tx.apply {
		return r.touched.err
	}
	return r.target.change(ctx, c)
}

// queued hands over a message of the gap that T has not got.
func (r *replay) queued(ctx context.Context, rel *relation, m message) error {
	if m.kind != msgInsert || !r.tx.apply || r.gap.Take == nil {
		return nil
	}
	if len(m.new) != len(rel.columns) {
		return r.malformed("a row of table %s has another number of columns than the table", rel.table)
	}
	row := map[string]string{}
	for i, c := range rel.columns {
		if m.new[i].kind == datumText {
			row[c.name] = string(m.new[i].text)
		}
	}
	if err := r.target.drain(ctx); err != nil {
		return err
	}
	return r.gap.Take(ctx, r.tx.lsn, row)
}

// leftOut counts a change of the gap to a table that is not T's business.
func (r *replay) leftOut(id uint32) {
	if rel := r.rels[id]; rel != nil && r.tx.mine {
		r.report.table(rel.table.String()).LeftOut++
	}
}

// enter takes note of a change in the transaction that is read: of the first one.
func (r *replay) enter(ctx context.Context) error {
	if r.tx.touched {
		return nil
	}
	r.tx.touched = true
	r.report.Transactions++
	r.touched.committed(r.gap.Origin, r.tx.time)
	return r.begin(ctx)
}

// begin takes the first change of a transaction: it settles the doubt about the
// one at T's progress, if an earlier attempt has got there.
func (r *replay) begin(ctx context.Context) error {
	if r.same++; r.tx.time != r.lastTime {
		r.same, r.lastTime = 1, r.tx.time
	}
	if r.tx.lsn == r.applied {
		has, err := r.committed(ctx, r.tx.time, r.same)
		if err != nil {
			return err
		}
		r.tx.apply = !has
	}
	if r.tx.apply {
		r.target.start(r.tx.lsn, r.tx.time, r.same)
	}
	return nil
}

// change reads what is done to which row. The encoded key is the one the row has
// before, valid until the next change.
func (r *replay) change(b *binding, m message) (*change, []byte, error) {
	if (m.new != nil && len(m.new) != len(b.columns)) || (m.old != nil && len(m.old) != len(b.columns)) {
		return nil, nil, r.malformed("a row of table %s has another number of columns than the table", b.rel.table)
	}
	c := &r.row
	*c = change{kind: m.kind, b: b, old: m.old, new: m.new, raw: m.raw}
	if m.kind != msgInsert && !b.updates {
		return nil, nil, r.stop("no_usable_key", b,
			"make the table's primary key its replica identity on every node",
			"rows are changed, but old rows do not carry the key %q", b.keyColumns())
	}
	if b.whole && m.kind != msgInsert && m.oldKind != 'O' {
		return nil, nil, r.malformed("an old row of table %s is not whole", b.rel.table)
	}
	var hasNew, hasOld bool
	if m.new != nil {
		r.newID, hasNew = b.appendKey(r.newID[:0], b.after(c))
	}
	if m.old != nil {
		r.oldID, hasOld = b.appendKey(r.oldID[:0], m.old)
	}
	switch {
	case m.kind == msgInsert && hasNew, m.kind == msgUpdate && m.oldKind == 0 && hasNew:
		return c, r.newID, nil
	case m.kind == msgDelete && hasOld:
		return c, r.oldID, nil
	case m.kind == msgUpdate && hasOld:
		c.moved = !hasNew || !bytes.Equal(r.oldID, r.newID)
		return c, r.oldID, r.identityKey(c)
	default:
		return nil, nil, r.malformed("a row of table %s has no key", b.rel.table)
	}
}

// identityKey refuses to move a GENERATED ALWAYS identity that is part of the
// key: PostgreSQL lets no UPDATE do that.
func (r *replay) identityKey(c *change) error {
	for _, at := range c.b.keyAt {
		if !c.b.whole && c.b.columns[at].always && c.new[at].kind == datumText && !bytes.Equal(c.new[at].text, c.old[at].text) {
			return r.stop("identity_changed", c.b,
				"make the column GENERATED BY DEFAULT on the laggard until it is recovered",
				"the gap changes identity column %q", c.b.columns[at].name)
		}
	}
	return nil
}

// watch takes a change that is not of the gap: when it removes a row of the gap,
// that is remembered, so that Verify can tell a deleted row from a lost one. When
// it moves the row to another key, that key is touched as well: T may have skipped
// the move for lack of the row.
func (r *replay) watch(ctx context.Context, m message) error {
	rel := r.rels[m.relID]
	if m.kind == msgInsert || m.oldKind == 0 || rel == nil || r.touched.tables[rel.table] == nil {
		return nil
	}
	b, err := r.binding(ctx, m.relID)
	if b == nil || err != nil {
		return err
	}
	c, id, err := r.change(b, m)
	if err != nil {
		return err
	}
	if c.kind != msgDelete && !c.moved {
		return nil
	}
	e := r.touched.find(rel.table, decodeKey(string(id)))
	if e == nil {
		return r.touched.err
	}
	e.deleted(stamp{at: r.tx.time, author: r.gap.author(r.tx.origin)})
	if moved, ok := b.movedTo(c); ok {
		r.touched.add(rel.table, b.keyColumns(), moved, r.gap.Source)
	}
	return r.touched.err
}

func (r *replay) stop(code string, b *binding, hint, format string, args ...any) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: code, Node: r.node, Hint: hint,
		Err: fmt.Errorf("transaction %s of %s, table %s: %w",
			r.tx.lsn, r.gap.Origin, b.rel.table, fmt.Errorf(format, args...)),
	}
}

func (r *replay) malformed(format string, args ...any) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "stream_malformed", Node: r.gap.Source,
		Err:  fmt.Errorf(format, args...),
		Hint: "the source speaks a pgoutput this version does not know: check its version",
	}
}
