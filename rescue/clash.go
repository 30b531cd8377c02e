package rescue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// A clash is a change of F that would give a row a unique value which another row of
// T has. The Resolution says which of the two rows goes.
//
// First the survivors exchange what they have: the other row may be on its way out.
// Where it is one of T's own, the other survivors' workers stand still at the very
// violation, seen from the other side, and would for good; then F's row is taken
// from them. Under the loser's last stamp it can come back: the comparison puts it
// there again when it has won.
//
// All this needs a transaction of T that has not begun, so the replay ends, and goes
// over the gap again, row by row in the tables that have clashed.

// clashWait is how long the survivors may take to exchange what they have before
// they are taken to stand still. Their workers try again every five seconds by
// default (wal_retrieve_retry_interval).
const clashWait = 15 * time.Second

// maxClashes bounds how many rows may be in the way of one change: it has at most
// one for each unique index.
const maxClashes = 64

// clash is a violation as an error: fault is what becomes of it when it is left to
// the operator, conflict goes into the report then.
type clash struct {
	op       op
	pg       *pgconn.PgError
	other    *otherRow
	fault    error
	conflict topology.RowConflict
}

func (c *clash) Error() string { return c.fault.Error() }
func (c *clash) Unwrap() error { return c.fault }

// row is the key of F's row, as it was to be.
func (c *clash) row() Key {
	if c.op.to != nil {
		return c.op.to
	}
	return c.op.key
}

// resolvable reports whether a policy can say which row goes.
func resolvable(o op, pg *pgconn.PgError, other *otherRow) bool {
	return pg.Code == uniqueViolation && other != nil && !other.own && !o.b.whole && o.kind != msgTruncate
}

// id names the pair of rows.
func (c *clash) id() string { return clashID(c.op.b, c.op.key, c.other.id) }

func clashID(b *binding, key, other Key) string {
	return Key{b.tab.name.Schema, b.tab.name.Name, key.encode(), other.encode()}.encode()
}

// clashes is what a replay knows of them.
type clashes struct {
	// with are the tables that have had one: their changes go one by one.
	with map[topology.TableName]bool
	// settled are the pairs with which the survivors have been dealt. Once they had
	// exchanged everything, at until by T's clock, all older ones are.
	settled map[string]bool
	until   int64
	// removed and kept tell what became of one: T's other row went for a write of
	// F's, or F's row was kept off by another.
	removed func(c *change, other Key)
	kept    func(c *change, key, other Key, lost defeat)
	// outcomes are those of transactions that T has.
	outcomes map[moment]*outcome
}

// of reports whether a table has had one.
func (c *clashes) of(b *binding) bool { return len(c.with) > 0 && c.with[b.tab.name] }

func (c *clashes) ready(b *binding, key Key, other *otherRow) bool {
	return c.settled[clashID(b, key, other.id)] || (c.until != 0 && other.by.at <= c.until)
}

// wins reports whether F's write stands against another row with its unique value.
func (r Resolution) wins(write, other stamp) bool {
	switch r.orDefault() {
	case ApplyRemote:
		return true
	case KeepLocal:
		return other.at == unknownTime
	case FirstUpdateWins:
		return other.at == unknownTime || other.author == write.author || other.after(write)
	default:
		return other.at == unknownTime || other.author == write.author || write.after(other)
	}
}

// carefully applies one change on its own, and settles its clashes.
func (a *applier) carefully(ctx context.Context, c *change, key Key) error {
	st, err := a.prepare(ctx, c)
	if err != nil {
		return err
	}
	if err := a.drain(ctx); err != nil {
		return err
	}
	exec := func(sql string) error { return a.s.conn.Exec(ctx, sql).Close() }
	o := a.op(c, key)
	if !a.open {
		if err := exec("BEGIN"); err != nil {
			return a.s.wrap(err)
		}
		a.open = true
	}
	for range maxClashes {
		if err := exec("SAVEPOINT healer_row"); err != nil {
			return a.fail(ctx, a.explain(o, err))
		}
		a.fill(st, c)
		result := a.s.conn.ExecStatement(ctx, st.desc, a.params, nil, nil).Read()
		if result.Err == nil {
			if err := exec("RELEASE healer_row"); err != nil {
				return a.fail(ctx, a.explain(o, err))
			}
			var replaced []byte
			if len(result.Rows) > 0 {
				replaced = result.Rows[0][0]
			}
			a.tally(o, result.CommandTag.RowsAffected(), replaced)
			return a.classify(ctx)
		}
		done, err := a.yield(ctx, c, o, a.explain(o, result.Err))
		if err != nil {
			return a.fail(ctx, err)
		}
		if done {
			return nil
		}
	}
	return a.fail(ctx, a.s.wrap(fmt.Errorf("transaction %s: %d rows are in the way of one", o.lsn, maxClashes)))
}

// yield settles a clash within the transaction: the other row goes, or F's change is
// left out, which ends it. Whatever else the error is comes back.
func (a *applier) yield(ctx context.Context, c *change, o op, err error) (left bool, _ error) {
	var refused *refusedError
	if !errors.As(err, &refused) {
		return false, err
	}
	if rerr := a.s.conn.Exec(ctx, "ROLLBACK TO healer_row; RELEASE healer_row").Close(); rerr != nil {
		return false, errors.Join(err, a.s.wrap(rerr))
	}
	other := holder(ctx, a.s.conn, a.s.authors, o.b.key, refused.pg)
	write := stamp{at: o.at, author: a.s.target.Origin}
	if !resolvable(o, refused.pg, other) || !a.clashes.ready(o.b, o.key, other) {
		return false, err
	}
	kind := InsertUnique
	if o.kind == msgUpdate {
		kind = UpdateUnique
	}
	met := a.conflict(o, kind, &other.by, topology.ActionApplied)
	met.OtherKey, met.Constraint = other.key, refused.pg.ConstraintName
	if !a.rule.resolution.wins(write, other.by) {
		met.Action = topology.ActionKept
		a.tally(o, 1, nil) // it was met, if not written
		a.met.Add(met)
		a.clashes.kept(c, o.key, other.id, defeat{write: write, to: other.by})
		return true, nil
	}
	if err := a.remove(ctx, o, other); err != nil {
		return false, err
	}
	a.met.Add(met)
	a.clashes.removed(c, other.id)
	return false, nil
}

// remove deletes the row in the way, unless somebody changes it meanwhile: then it is
// looked at again.
func (a *applier) remove(ctx context.Context, o op, other *otherRow) error {
	r := &replica{tab: o.b.tab, key: o.b.key}
	where, params := r.byVersion(other.id, other.xmin, nil)
	got := a.s.conn.ExecParams(ctx, "DELETE FROM "+o.b.tab.only()+" AS t WHERE "+where, params, nil, nil, nil).Read()
	if got.Err != nil {
		return a.explain(o, got.Err)
	}
	return nil
}

// clashed prepares the next pass over the gap; false when that is of no use, and the
// error that the replay ends with.
func (r *replay) clashed(ctx context.Context, s *Session, c *clash) (bool, error) {
	known := r.clashes
	if s.target.Conflicts == Stop || r.gap.Again == nil || !resolvable(c.op, c.pg, c.other) || known.settled[c.id()] {
		r.report.Conflicts.Add(c.conflict)
		return false, nil
	}
	known.with[c.op.b.tab.name] = true
	now, err := rows(ctx, s.conn, `SELECT (extract(epoch FROM pg_catalog.now()) * 1000000 - 946684800000000)::bigint`)
	if err != nil {
		return false, s.wrap(err)
	}
	until, err := strconv.ParseInt(string(now[0][0]), 10, 64)
	if err != nil {
		return false, s.wrap(err)
	}
	stuck := r.exchange(ctx)
	if stuck == nil {
		known.until, known.settled[c.id()] = until, true
		return true, nil
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	done := false
	if r.gap.Concede != nil {
		done, err = r.gap.Concede(ctx, r.concession(s, c))
	}
	if done && err == nil {
		known.settled[c.id()] = true
		return true, nil
	}
	r.report.Conflicts.Add(c.conflict)
	return false, errors.Join(&topology.Fault{
		Class: topology.Permanent, Code: "constraint_violated", Node: s.target.Node,
		Hint: "delete one of the two rows on every node that has it, then run the recovery again",
		Err:  fmt.Errorf("the survivors cannot exchange the two rows either: %w; %w", stuck, c.fault),
	}, err)
}

// exchange lets the survivors exchange what they have.
func (r *replay) exchange(ctx context.Context) error {
	if r.gap.Settle == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.gap.ClashWait, clashWait))
	defer cancel()
	_, err := r.awaitSettled(ctx)
	return err
}

// moment names a change of the gap.
type moment struct {
	lsn topology.LSN
	n   int
}

// outcome is how a change's clash ended: other rows of T went for it, or it was kept
// off by one.
type outcome struct {
	gone []Key
	kept *defeat
	by   Key
}

// displaced notes that a row of T went for a write of F's.
func (r *replay) displaced(c *change, other Key) {
	o := r.outcome()
	o.gone = append(o.gone, other)
	r.ended(c, nil, &outcome{gone: []Key{other}})
}

// keptOff notes that a change of F's was left out for another row.
func (r *replay) keptOff(c *change, key, other Key, lost defeat) {
	o := r.outcome()
	o.kept, o.by = &lost, other
	r.ended(c, key, &outcome{kept: &lost, by: other})
}

func (r *replay) outcome() *outcome {
	at := moment{r.tx.lsn, r.tx.changes}
	if r.clashes.outcomes[at] == nil {
		r.clashes.outcomes[at] = &outcome{}
	}
	return r.clashes.outcomes[at]
}

// remember takes up how a change's clash ended that an earlier pass has applied.
func (r *replay) remember(c *change) {
	if r.tx.apply || r.clashes == nil || len(r.clashes.outcomes) == 0 {
		return
	}
	if o := r.clashes.outcomes[moment{r.tx.lsn, r.tx.changes}]; o != nil {
		r.ended(c, c.key(), o)
	}
}

// ended touches what a clash has left: all are to have the row that stood, and a row
// that was to move stays where it is.
func (r *replay) ended(c *change, key Key, o *outcome) {
	t, columns := c.b.rel.table, c.b.keyColumns()
	for _, other := range o.gone {
		r.touched.add(t, columns, other, "").deleted(stamp{at: r.tx.time, author: r.gap.Origin})
	}
	if o.kept == nil {
		return
	}
	r.touched.add(t, columns, key, r.gap.Source).yielded(*o.kept)
	if moved, ok := c.b.movedTo(c); ok && c.moved {
		r.touched.add(t, columns, moved, r.gap.Source).yielded(*o.kept)
	}
	if o.by.encode() != key.encode() {
		r.touched.add(t, columns, o.by, "")
	}
}
