package rescue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// A constraint of T which refuses a change of the gap stops the replay, with both
// rows named. Of a unique constraint clash.go can do better.

// refusedError is T's refusal of a change for a constraint; what stands in the way
// can be looked up only once the transaction is aborted.
type refusedError struct {
	o  op
	pg *pgconn.PgError
}

func (e *refusedError) Error() string { return e.pg.Error() }

// otherRow is a row that has the unique value which another one was to get.
type otherRow struct {
	// key is for people, id in the order of the key's columns; xmin is its version.
	key  map[string]string
	id   Key
	by   stamp
	xmin string
	// own is set when the very transaction wrote it that is refused.
	own bool
}

// String names the row for an operator.
func (r *otherRow) String() string {
	parts := make([]string, 0, len(r.key))
	for _, name := range slices.Sorted(maps.Keys(r.key)) {
		parts = append(parts, name+"="+r.key[name])
	}
	return "row (" + strings.Join(parts, ", ") + "), written by " + written(r.by)
}

// blame makes of a refusal the Fault that stops the replay, and the conflict to
// report with it. A constraint trigger that fires at COMMIT does not say for which row.
func (a *applier) blame(ctx context.Context, e *refusedError) error {
	o, pg := e.o, e.pg
	if o.b == nil {
		return a.blameCommit(o, pg)
	}
	c := a.conflict(o, ConstraintViolated, nil, topology.ActionStopped)
	c.Constraint = pg.ConstraintName
	why := pg.Detail
	other := holder(ctx, a.s.conn, a.s.authors, o.b.key, pg)
	if other != nil {
		c.OtherKey = other.key
		c.Local = &topology.RowWrite{Node: other.by.author, At: timeOf(other.by.at)}
		why += " In the way is " + other.String() + "."
	}
	return &clash{
		op: o, pg: pg, other: other, conflict: c,
		fault: a.fault("constraint_violated",
			"resolve it on the laggard (constraint "+pg.ConstraintName+"), then run the recovery again",
			o.b, o.lsn, fmt.Errorf("constraint %s refuses row (%s), written by %s: %w: %s", pg.ConstraintName, o.b.rowName(o.key),
				written(stamp{at: o.at, author: a.s.target.Origin}), pg, why)),
	}
}

func (a *applier) blameCommit(o op, pg *pgconn.PgError) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "constraint_violated", Node: a.s.target.Node,
		Hint: "resolve it on the laggard (constraint " + pg.ConstraintName + "), then run the recovery again",
		Err: fmt.Errorf("transaction %s of %s, table %s.%s: it is refused at its COMMIT: %w: %s",
			o.lsn, a.s.target.Origin, pg.SchemaName, pg.TableName, pg, pg.Detail),
	}
}

const (
	uniqueViolation    = "23505"
	exclusionViolation = "23P01"
)

// indexQuery reads the columns or expressions of an index that keeps rows apart, and
// its predicate.
const indexQuery = `
SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k.pos, true), coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid, true), 'true')
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.generate_series(1, i.indnkeyatts) AS k(pos)
WHERE n.nspname = $1 AND c.relname = $2 AND (i.indisunique OR i.indisexclusion)
ORDER BY k.pos`

// holder finds the row that has the value of a unique violation, or the one that an
// exclusion is about; nil when it is another violation, or the row cannot be found
// any more. The error has the values in its detail, in whatever language:
// "Key (a, b)=(1, x) already exists.", and for an exclusion those of the row that is
// there behind them.
func holder(ctx context.Context, conn *pgconn.PgConn, authors map[uint32]string, key []keyColumn, pg *pgconn.PgError) *otherRow {
	values, ok := inTheWay(pg)
	if !ok || len(key) == 0 {
		return nil
	}
	index, err := rows(ctx, conn, indexQuery, []byte(pg.SchemaName), []byte(pg.ConstraintName))
	if err != nil || len(index) == 0 {
		return nil
	}
	match := "(" + string(index[0][0]) + ") = $1"
	if len(index) > 1 {
		parts := make([]string, len(index))
		for i, r := range index {
			parts[i] = string(r[0])
		}
		match = "pg_catalog.concat_ws(', ', " + strings.Join(parts, ", ") + ") = $1"
	}
	names := make([]string, len(key))
	for i, k := range key {
		names[i] = "t." + quoteIdent(k.name)
	}
	// A transaction is never younger than what it wrote itself.
	got, err := rows(ctx, conn, "SELECT "+stampOf("t")+", t.xmin, pg_catalog.age(t.xmin) <= 0, "+strings.Join(names, ", ")+
		" FROM "+quoteIdent(pg.SchemaName)+"."+quoteIdent(pg.TableName)+" AS t WHERE "+match+" AND ("+string(index[0][1])+") LIMIT 1",
		[]byte(values))
	if err != nil || len(got) == 0 {
		return nil
	}
	found := make(Key, len(key))
	for i := range key {
		found[i] = string(got[0][i+3])
	}
	return &otherRow{
		key: namedKey(key, found, false), id: found, by: parseStamp(string(got[0][0]), authors),
		xmin: string(got[0][1]), own: isTrue(got[0][2]),
	}
}

// inTheWay takes out of a violation the values of the row that is there.
func inTheWay(pg *pgconn.PgError) (string, bool) {
	_, values, ok := strings.Cut(pg.Detail, ")=(")
	switch pg.Code {
	case uniqueViolation:
	case exclusionViolation:
		at := strings.LastIndex(values, ")=(")
		if at < 0 {
			return "", false
		}
		values = values[at+len(")=("):]
	default:
		return "", false
	}
	end := strings.LastIndexByte(values, ')')
	if !ok || end < 0 {
		return "", false
	}
	return values[:end], true
}

// refusal says of a repair what T has against it, and which row is in the way if one
// is; nil when err is no refusal.
func (r *replica) refusal(ctx context.Context, err error) (other *otherRow, refused error) {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || !refusedBy(pg.Code) {
		return nil, nil //nolint:nilnil // no refusal is an answer
	}
	err = fmt.Errorf("%w: %s", err, pg.Detail)
	other = holder(ctx, r.conn, r.authors, r.key, pg)
	if other != nil {
		err = fmt.Errorf("%w In the way is %s", err, other)
	}
	return other, err
}
