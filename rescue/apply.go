package rescue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

const (
	// batchOps and batchBytes bound what is sent before T's answers are read,
	// and so what is in memory of a transaction of any size.
	batchOps   = 4000
	batchBytes = 1 << 20
	// flushBytes is how much is gathered before T gets it to work on.
	flushBytes = 32 << 10
)

// applier sends transactions to T through a pipeline. There is one Sync at the
// end of a batch and none before: after a failure the server ignores everything
// up to the Sync, so no later transaction runs when an earlier one failed.
type applier struct {
	s      *Session
	report *Report
	rule   rule

	begin, setup, commit *pgconn.StatementDescription

	pipe *pgconn.Pipeline
	ops  []op
	// bytes have been sent since the last Sync, unflushed since the last flush.
	bytes, unflushed int
	// open is set between a BEGIN and its COMMIT as sent.
	open bool
	lsn  topology.LSN
	// micros is F's commit timestamp, at its text.
	micros int64
	at     []byte

	// missed are the changes of the batch that wrote nothing; see tally.go.
	missed []op
	// met are the conflicts of the transaction whose COMMIT is not answered yet.
	met topology.ConflictLog
	// params and shape are reused.
	params [][]byte
	shape  []byte
	count  int
	// clashes are those with rows that have a unique value.
	clashes *clashes
}

// op is a statement whose answer is due.
type op struct {
	kind msgKind // msgBegin and msgCommit for the frame of a transaction
	b    *binding
	key  Key
	// to is the key that a moved row gets.
	to   Key
	lsn  topology.LSN
	step truncateStep
	// at is F's commit timestamp.
	at int64
}

func newApplier(ctx context.Context, s *Session, report *Report) (*applier, error) {
	a := &applier{s: s, report: report, clashes: &clashes{}, rule: rule{resolution: s.target.Conflicts, mine: s.mine, greater: s.greater}}
	for _, p := range []struct {
		into **pgconn.StatementDescription
		name string
		sql  string
	}{
		{&a.begin, "healer_begin", "BEGIN"},
		{&a.setup, "healer_setup", "SELECT pg_catalog.pg_replication_origin_xact_setup($1, $2)"},
		{&a.commit, "healer_commit", "COMMIT"},
	} {
		desc, err := s.conn.Prepare(ctx, p.name, p.sql, nil)
		if err != nil {
			return nil, s.wrap(err)
		}
		*p.into = desc
	}
	return a, nil
}

// start notes the transaction that the following changes belong to. Nothing is
// sent before the first of them.
func (a *applier) start(lsn topology.LSN, micros int64) {
	a.lsn, a.micros, a.at = lsn, micros, []byte(timestamp(micros))
}

// change sends one row change.
func (a *applier) change(ctx context.Context, c *change, key Key) error {
	st, err := a.prepare(ctx, c)
	if err != nil {
		return err
	}
	if a.pipe == nil {
		a.pipe = a.s.conn.StartPipeline(ctx)
	}
	if !a.open {
		a.open = true
		a.send(op{kind: msgBegin, lsn: a.lsn}, a.begin)
	}
	a.fill(st, c)
	a.send(a.op(c, key), st.desc, a.params...)
	return a.keepFlowing(ctx)
}

func (a *applier) op(c *change, key Key) op {
	o := op{kind: c.kind, step: c.step, b: c.b, key: key, lsn: a.lsn, at: a.micros}
	if c.moved {
		o.to, _ = c.b.movedTo(c)
	}
	return o
}

// fill takes a change's values as parameters of its statement.
func (a *applier) fill(st *statement, c *change) {
	a.params = a.params[:0]
	for _, p := range st.params {
		row := c.new
		if p.old {
			row = c.old
		}
		var v []byte // NULL
		if d := row[p.at]; d.kind == datumText {
			v = d.text
			if v == nil {
				v = []byte{}
			}
		}
		a.params = append(a.params, v)
	}
	if st.stamped {
		a.params = append(a.params, a.at)
	}
}

// finish sends the COMMIT; the transaction is durable only after reach.
//
// The origin's position is set right before the COMMIT and not at the beginning,
// because PostgreSQL moves the session's origin when a transaction aborts, too:
// a session that dies before it leaves the position of the transaction before
// this one. What remains is a death between the two statements; see doubt.go.
func (a *applier) finish(ctx context.Context) error {
	if !a.open {
		return nil
	}
	if a.pipe == nil {
		a.pipe = a.s.conn.StartPipeline(ctx)
	}
	a.open = false
	a.send(op{kind: msgBegin, lsn: a.lsn}, a.setup, []byte(a.lsn.String()), a.at)
	a.send(op{kind: msgCommit, lsn: a.lsn}, a.commit)
	return a.keepFlowing(ctx)
}

func (a *applier) send(o op, desc *pgconn.StatementDescription, params ...[]byte) {
	size := 64
	for _, p := range params {
		size += len(p) + 4
	}
	a.bytes += size
	a.unflushed += size
	a.pipe.SendQueryStatement(desc, params, nil, nil)
	a.ops = append(a.ops, o)
}

func (a *applier) keepFlowing(ctx context.Context) error {
	if len(a.ops) >= batchOps || a.bytes >= batchBytes {
		return a.drain(ctx)
	}
	if a.unflushed >= flushBytes {
		a.unflushed = 0
		if err := a.pipe.Flush(); err != nil {
			return a.s.wrap(err)
		}
	}
	return nil
}

// prepare returns the change's statement, preparing it when its shape is new.
// There are few shapes: it may well wait for the batch that is under way.
func (a *applier) prepare(ctx context.Context, c *change) (*statement, error) {
	a.shape = c.shape(a.shape)
	if st := c.b.statements[string(a.shape)]; st != nil {
		return st, nil
	}
	st := c.build(a.rule)
	if st.sql == "" {
		return nil, a.fault("no_writable_column", "make a column writable on the laggard",
			c.b, a.lsn, errors.New("the gap updates a row none of whose columns can be set"))
	}
	if err := a.drain(ctx); err != nil {
		return nil, err
	}
	a.count++
	desc, err := a.s.conn.Prepare(ctx, "healer_"+strconv.Itoa(a.count), st.sql, nil)
	if err != nil {
		return nil, a.explain(op{kind: c.kind, b: c.b, lsn: a.lsn}, err)
	}
	st.desc = desc
	c.b.statements[string(a.shape)] = st
	return st, nil
}

// drain ends the batch: it waits for all answers and counts them. It may be
// called within a transaction, which stays open.
func (a *applier) drain(ctx context.Context) error {
	if a.pipe == nil {
		return nil
	}
	pipe := a.pipe
	a.pipe, a.bytes, a.unflushed = nil, 0, 0
	err := pipe.Sync()
	for i := 0; err == nil && i < len(a.ops); i++ {
		if err = a.answer(pipe, a.ops[i]); err != nil {
			err = a.explain(a.ops[i], err)
		}
	}
	a.ops = a.ops[:0]
	if cerr := pipe.Close(); err == nil && cerr != nil {
		err = a.s.wrap(cerr)
	}
	if err != nil {
		return a.fail(ctx, err)
	}
	return a.classify(ctx)
}

// fail aborts the transaction, and says what T has against it.
func (a *applier) fail(ctx context.Context, err error) error {
	aborted := a.abort(ctx)
	var refused *refusedError
	if errors.As(err, &refused) {
		err = a.blame(ctx, refused)
	}
	return errors.Join(err, aborted)
}

// abort leaves on a session that survives the error neither a transaction nor a
// progress that nobody has made.
func (a *applier) abort(ctx context.Context) error {
	a.open, a.missed, a.met = false, nil, topology.ConflictLog{}
	if a.s.conn.IsClosed() {
		return nil
	}
	if err := a.s.conn.Exec(ctx, "ROLLBACK").Close(); err != nil {
		return a.s.wrap(err)
	}
	return a.s.putBack(ctx)
}

// answer reads the answer to one statement.
func (a *applier) answer(pipe *pgconn.Pipeline, o op) error {
	res, err := pipe.GetResults()
	if err != nil {
		return err
	}
	rr, ok := res.(*pgconn.ResultReader)
	if !ok {
		return fmt.Errorf("answer of unexpected type %T", res)
	}
	// replaced is the stamp of another node's row that the change was put over.
	var replaced []byte
	for rr.NextRow() {
		replaced = bytes.Clone(rr.Values()[0])
	}
	tag, err := rr.Close()
	if err != nil {
		return err
	}
	switch o.kind {
	case msgBegin:
	case msgCommit:
		if tag.String() != "COMMIT" {
			return fmt.Errorf("commit was answered by %s", tag)
		}
		a.s.progress = o.lsn
		a.report.Applied++
		a.keepMet()
	default:
		a.tally(o, tag.RowsAffected(), replaced)
	}
	return nil
}

// explain turns T's refusal of a change into a Fault; other errors pass.
func (a *applier) explain(o op, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && o.kind == msgCommit && strings.HasPrefix(pg.Code, "23") {
		return &refusedError{o: o, pg: pg}
	}
	if pg == nil || o.b == nil || len(pg.Code) != 5 {
		return a.s.wrap(fmt.Errorf("transaction %s: %w", o.lsn, err))
	}
	if kind, was, ok := stopped(o, pg); ok {
		return a.stop(o, kind, was)
	}
	switch pg.Code[:2] {
	case "23": // integrity constraint violation
		return &refusedError{o: o, pg: pg}
	case "22", "42", "44", "55", "P0", "0A": // the data, the definition or a trigger is against it
		return a.fault("change_rejected",
			"make the table as it is on the other nodes, then run the recovery again", o.b, o.lsn, err)
	}
	return a.s.wrap(fmt.Errorf("transaction %s, table %s: %w", o.lsn, o.b.tab.name, err))
}

func (a *applier) fault(code, hint string, b *binding, lsn topology.LSN, err error) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: code, Node: a.s.target.Node, Hint: hint,
		Err: fmt.Errorf("transaction %s of %s, table %s: %w", lsn, a.s.target.Origin, b.tab.name, err),
	}
}
