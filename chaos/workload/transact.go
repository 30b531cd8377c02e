package workload

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"healer/chaos/history"
)

// transaction is one that is under way.
type transaction struct {
	history.Transaction
	conn *pgx.Conn
	// prepare makes it one in two phases; withdraw says that the second takes it back.
	prepare, withdraw bool
	// keyed: it writes into the ledger, not into the journal.
	keyed bool
}

// exec runs a statement and returns how many rows it changed.
func (t *transaction) exec(ctx context.Context, sql string, args ...any) (int, error) {
	tag, err := t.conn.Exec(ctx, sql, args...)
	return int(tag.RowsAffected()), err
}

// did records an operation.
func (t *transaction) did(kind history.OperationKind, table, key, value string) {
	t.Operations = append(t.Operations, history.Operation{Kind: kind, Table: table, Key: key, Value: value})
}

// journal writes the rows from, from+1, ... below to of the transaction's total.
func (t *transaction) journal(ctx context.Context, from, to int) error {
	args := []any{t.Node, t.Client, t.Sequence, t.Entries, from, to - 1}
	if t.keyed {
		_, err := t.exec(ctx, `insert into `+Namespace+`.ledger select $1, $2, $3, i, $4, $7 from generate_series($5::int, $6::int) i`,
			append(args, t.ID)...)
		return err
	}
	_, err := t.exec(ctx, `insert into `+Namespace+`.journal select $1, $2, $3, i, $4 from generate_series($5::int, $6::int) i`, args...)
	return err
}

// entered records the rows of the ledger.
func (t *transaction) entered() {
	for i := range t.Entries {
		if t.keyed {
			t.did(history.Insert, "ledger", fmt.Sprintf("%s/%d", t.ID, i), "")
		}
	}
}

// body is what a transaction does between BEGIN and its end.
type body func(ctx context.Context, t *transaction) error

// perform runs a transaction whose body stands between the first row of its journal and
// the others, so that a part of it cannot pass for the whole. The error says why it
// did not commit.
func (t *transaction) perform(ctx context.Context, do body) (history.Outcome, error) {
	err := t.before(ctx, do)
	if err != nil {
		// COMMIT was never sent, so that the server takes it back whatever it was
		// that broke.
		t.rollback(ctx)
		return history.Failed, err
	}
	if t.prepare {
		return t.twoPhases(ctx)
	}
	tag, err := t.conn.Exec(ctx, "commit")
	switch {
	case err == nil && tag.String() != "COMMIT":
		return history.Failed, fmt.Errorf("the server answered %s to COMMIT", tag)
	case err == nil:
		return history.Committed, nil
	case refused(err):
		return history.Failed, err
	default:
		t.leave(ctx)
		return history.Unknown, err
	}
}

func (t *transaction) before(ctx context.Context, do body) error {
	if _, err := t.conn.Exec(ctx, "begin"); err != nil {
		return err
	}
	if t.Entries > 0 {
		if err := t.journal(ctx, 0, 1); err != nil {
			return err
		}
	}
	if err := do(ctx, t); err != nil {
		return err
	}
	if t.Entries > 1 {
		return t.journal(ctx, 1, t.Entries)
	}
	return nil
}

// errInDoubt: the first phase may have been done, and the second not.
var errInDoubt = errors.New("in doubt")

// twoPhases ends the transaction in two phases. What breaks on the way leaves it in
// doubt, and the client settles that when it is back.
func (t *transaction) twoPhases(ctx context.Context) (history.Outcome, error) {
	if _, err := t.conn.Exec(ctx, "prepare transaction "+quote(t.gid())); refused(err) {
		return history.Failed, err
	} else if err != nil {
		t.leave(ctx)
		return history.Unknown, errors.Join(errInDoubt, err)
	}
	if _, err := t.conn.Exec(ctx, t.verb()+" prepared "+quote(t.gid())); err != nil {
		return history.Unknown, errors.Join(errInDoubt, err)
	}
	return t.ended()
}

func (t *transaction) verb() string {
	if t.withdraw {
		return "rollback"
	}
	return "commit"
}

// ended is the outcome once the second phase is done.
func (t *transaction) ended() (history.Outcome, error) {
	if t.withdraw {
		return history.Failed, errRollback
	}
	return history.Committed, nil
}

// gidPrefix is what the names of the workload's prepared transactions begin with.
const gidPrefix = Namespace + ":"

func (t *transaction) gid() string { return gidPrefix + t.ID }

// quote makes a literal of a name that has neither quotes nor backslashes.
func quote(s string) string { return "'" + s + "'" }

func (t *transaction) rollback(ctx context.Context) {
	if t.conn.IsClosed() {
		return
	}
	if _, err := t.conn.Exec(ctx, "rollback"); err != nil {
		t.leave(ctx)
	}
}

// leave ends a session whose transaction may still be open: a statement whose time was
// over before it was sent changes nothing, and the next COMMIT would be for that as well.
func (t *transaction) leave(ctx context.Context) {
	_ = t.conn.Close(ctx) // the socket is closed in any case
}

// refused reports whether the server has said no, and the session goes on. An end of
// the session says nothing about the statement before it.
func refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR"
}
