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

// A constraint that refuses a change of the gap stops the replay under every policy.
// PostgreSQL's own workers stop at the same violation when the survivors exchange
// the two rows, so giving up one of them here would make the nodes equal nowhere.
// What can be done is to name both.

// refusedError is T's refusal of a change for a constraint; what stands in the way
// can be looked up only once the transaction is aborted.
type refusedError struct {
	o  op
	pg *pgconn.PgError
}

func (e *refusedError) Error() string { return e.pg.Error() }

// otherRow is a row that has the unique value which another one was to get.
type otherRow struct {
	key map[string]string
	by  stamp
}

// String names the row for an operator.
func (r *otherRow) String() string {
	parts := make([]string, 0, len(r.key))
	for _, name := range slices.Sorted(maps.Keys(r.key)) {
		parts = append(parts, name+"="+r.key[name])
	}
	return "row (" + strings.Join(parts, ", ") + "), written by " + written(r.by)
}

// blame makes a Fault of a refusal, and reports it as a conflict.
func (a *applier) blame(ctx context.Context, e *refusedError) error {
	o, pg := e.o, e.pg
	c := a.conflict(o, ConstraintViolated, nil, topology.ActionStopped)
	c.Constraint = pg.ConstraintName
	why := pg.Detail
	other := holder(ctx, a.s.conn, a.s.authors, o.b.key, pg)
	if other != nil {
		c.OtherKey = other.key
		c.Local = &topology.RowWrite{Node: other.by.author, At: timeOf(other.by.at)}
		why += " In the way is " + other.String() + "."
	}
	a.report.Conflicts.Add(c)
	return a.fault("constraint_violated",
		"resolve it on the laggard (constraint "+pg.ConstraintName+"), then run the recovery again",
		o.b, o.lsn, fmt.Errorf("constraint %s refuses row (%s), written by %s: %w: %s", pg.ConstraintName, o.b.rowName(o.key),
			written(stamp{at: o.at, author: a.s.target.Origin}), pg, why))
}

const uniqueViolation = "23505"

// indexQuery reads the columns or expressions of a unique index, and its predicate.
const indexQuery = `
SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k.pos, true), coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid, true), 'true')
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.generate_series(1, i.indnkeyatts) AS k(pos)
WHERE n.nspname = $1 AND c.relname = $2 AND i.indisunique
ORDER BY k.pos`

// holder finds the row that has the value of a unique violation; nil when it is
// another violation, or the row cannot be found any more. The error has the values
// in its detail, in whatever language: "Key (a, b)=(1, x) already exists."
func holder(ctx context.Context, conn *pgconn.PgConn, authors map[uint32]string, key []keyColumn, pg *pgconn.PgError) *otherRow {
	_, values, ok := strings.Cut(pg.Detail, ")=(")
	end := strings.LastIndexByte(values, ')')
	if pg.Code != uniqueViolation || !ok || end < 0 || len(key) == 0 {
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
	got, err := rows(ctx, conn, "SELECT "+stampOf("t")+", "+strings.Join(names, ", ")+
		" FROM "+quoteIdent(pg.SchemaName)+"."+quoteIdent(pg.TableName)+" AS t WHERE "+match+" AND ("+string(index[0][1])+") LIMIT 1",
		[]byte(values[:end]))
	if err != nil || len(got) == 0 {
		return nil
	}
	found := make(Key, len(key))
	for i := range key {
		found[i] = string(got[0][i+1])
	}
	return &otherRow{key: namedKey(key, found, false), by: parseStamp(string(got[0][0]), authors)}
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
