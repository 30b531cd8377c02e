package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// Tables without a key are compared as bags: of each row that the gap has written,
// by its whole content, every survivor must have the same number. A divergence is
// made equal by the larger number, unless a deletion of that content is known which
// is later than the rows: then by the smaller one.

// rowOf is the whole row as a key; nil when a column is missing.
func (t *table) rowOf(columns []string) []keyColumn {
	key := make([]keyColumn, 0, len(columns))
	for _, name := range columns {
		c, ok := t.column(name)
		if !ok || c.generated {
			return nil
		}
		key = append(key, keyColumn{name: c.name, typ: c.typ, equals: c.equals})
	}
	return key
}

// row renders the columns of alias t as one text.
func (r *replica) rowText() string {
	cols := make([]string, len(r.key))
	for i, k := range r.key {
		cols[i] = "t." + quoteIdent(k.name)
	}
	return "ROW(" + strings.Join(cols, ", ") + ")::text"
}

// wantedText renders values given as expressions likewise.
func (r *replica) wantedText(value func(i int) string) string {
	vals := make([]string, len(r.key))
	for i, k := range r.key {
		vals[i] = value(i) + "::" + k.typ
	}
	return "ROW(" + strings.Join(vals, ", ") + ")::text"
}

// copiesQuery counts the copies of each row, and tells the latest of them.
func (r *replica) copiesQuery() string {
	var args, names []string
	for i := range r.key {
		args = append(args, "$"+strconv.Itoa(i+1)+"::text[]")
		names = append(names, "k"+strconv.Itoa(i+1))
	}
	want := r.wantedText(func(i int) string { return "k." + names[i] })
	return `SELECT DISTINCT ON (k.i) k.i, count(*) OVER w, string_agg(t.at, ' ') OVER w,
 (extract(epoch FROM pg_catalog.pg_xact_commit_timestamp(t.xmin)) * 1000000 - 946684800000000)::bigint,
 (pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident
FROM (SELECT k.i, ` + want + ` AS r FROM unnest(` + strings.Join(args, ", ") + `) WITH ORDINALITY AS k(` +
		strings.Join(names, ", ") + `, i) OFFSET 0) AS k
JOIN (SELECT ` + r.rowText() + ` AS r, t.xmin, t.tableoid || ':' || t.ctid || ':' || t.xmin AS at FROM ` + r.tab.only() + ` AS t OFFSET 0) AS t
 ON t.r OPERATOR(pg_catalog.=) k.r
WINDOW w AS (PARTITION BY k.i)
ORDER BY k.i, pg_catalog.pg_xact_commit_timestamp(t.xmin) DESC NULLS LAST`
}

// copies reads how often the replica has each row. The version of a row that is
// there is the set of its copies; its digest is their number.
func (r *replica) copies(ctx context.Context, _ []string, keys []Key, found func(int, version)) error {
	// No index serves the join: with hashing the table is read once.
	if err := configure(ctx, r.conn, []setting{{"enable_hashjoin", "on"}}); err != nil {
		return r.wrap(err)
	}
	got, err := rows(ctx, r.conn, r.copiesQuery(), wholeArrays(keys)...)
	if err != nil {
		return r.wrap(fmt.Errorf("table %s: %w", r.tab.name, err))
	}
	if err := configure(ctx, r.conn, []setting{{"enable_hashjoin", "off"}}); err != nil {
		return r.wrap(err)
	}
	for _, row := range got {
		i, err := strconv.Atoi(string(row[0]))
		if err != nil {
			return r.wrap(err)
		}
		v := version{present: true, digest: string(row[1]), xmin: string(row[2]), stamp: stamp{at: unknownTime}}
		if row[3] != nil {
			if v.stamp, err = r.stamp(row[3], row[4]); err != nil {
				return r.wrap(err)
			}
		}
		found(i-1, v)
	}
	return nil
}

// wholeArrays are the parameters of copiesQuery: one array for each column.
func wholeArrays(keys []Key) [][]byte {
	if len(keys) == 0 {
		return nil
	}
	out := make([][]byte, len(keys[0]))
	for c := range out {
		column := make([]string, len(keys))
		null := make([]bool, len(keys))
		for i, k := range keys {
			column[i], null[i] = strings.TrimPrefix(k[c], wholeValue), k[c] == wholeNull
		}
		out[c] = nullableArray(column, null)
	}
	return out
}

// nullableArray is textArray with NULLs.
func nullableArray(values []string, null []bool) []byte {
	parts := make([]string, len(values))
	for i, v := range values {
		if parts[i] = "NULL"; !null[i] {
			one := textArray([]string{v})
			parts[i] = string(one[1 : len(one)-1])
		}
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

// count is the number of copies.
func (v version) count() int {
	n, err := strconv.Atoi(v.digest)
	if err != nil {
		return 0 // it has none
	}
	return n
}

// repairBag makes the survivors have the same number of copies.
func (v *verifier) repairBag(ctx context.Context, s *suspect) error {
	target, winner := s.copiesWanted()
	for i, have := range s.versions {
		if have.count() == target {
			continue
		}
		done, err := s.table.on[i].setCopies(ctx, s, have, target, winner)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && refusedBy(pg.Code) {
			s.problem = err
			continue
		}
		if err != nil {
			return err
		}
		if done {
			v.conflicts.Add(s.copiesConflict(i, target, winner))
		}
	}
	return nil
}

// copiesConflict is what the number of copies wanted means for a survivor.
func (s *suspect) copiesConflict(i, target int, by stamp) topology.RowConflict {
	if target > s.versions[i].count() {
		c := s.conflict(i, verdict{by: by})
		c.Kind, c.Action = FoundMissing, topology.ActionAdded
		return c
	}
	return s.conflict(i, verdict{winner: -1, by: by})
}

// copiesWanted is the number of copies that all are to have, and the write that
// decides it.
func (s *suspect) copiesWanted() (int, stamp) {
	most := slices.MaxFunc(s.versions, func(a, b version) int { return a.count() - b.count() })
	least := slices.MinFunc(s.versions, func(a, b version) int { return a.count() - b.count() })
	if t := s.touch.tomb; t != nil && t.after(most.stamp) {
		return least.count(), *t
	}
	return most.count(), most.stamp
}

// setCopies adds or removes copies of one row on a survivor, provided that it still
// has those which were compared.
func (r *replica) setCopies(ctx context.Context, s *suspect, have version, target int, by stamp) (bool, error) {
	author := by.author
	if author == "" {
		author = r.node
	}
	if err := r.act(ctx, author); err != nil {
		return false, err
	}
	params := make([][]byte, len(s.key))
	for i, v := range s.key {
		if v != wholeNull {
			params[i] = []byte(strings.TrimPrefix(v, wholeValue))
		}
	}
	place := func(i int) string { return "$" + strconv.Itoa(i+1) }
	same := "t.r OPERATOR(pg_catalog.=) (SELECT " + r.wantedText(place) + ")"
	source := "(SELECT " + r.rowText() + " AS r, t.tableoid, t.ctid FROM " + r.tab.only() + " AS t OFFSET 0) AS t WHERE " + same
	still := "(SELECT count(*) FROM " + source + ") = " + strconv.Itoa(have.count())
	n := strconv.Itoa(max(target-have.count(), have.count()-target))
	var sql string
	if target > have.count() {
		names, values := make([]string, len(r.key)), make([]string, len(r.key))
		for i, k := range r.key {
			names[i], values[i] = quoteIdent(k.name), place(i)+"::"+k.typ
		}
		sql = "INSERT INTO " + r.tab.sql() + " (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " +
			strings.Join(values, ", ") + " FROM generate_series(1, " + n + ") WHERE " + still
	} else {
		sql = "DELETE FROM " + r.tab.only() + " AS d WHERE (d.tableoid, d.ctid) IN (SELECT t.tableoid, t.ctid FROM " + source +
			" LIMIT " + n + ") AND " + still
	}
	return r.writeAt(ctx, by, sql, params)
}

// wholeName names a row of a table without a key.
func (s *suspect) wholeName() string {
	parts := make([]string, len(s.key))
	for i, v := range s.key {
		if parts[i] = "NULL"; v != wholeNull {
			parts[i] = strings.TrimPrefix(v, wholeValue)
		}
		if len(parts[i]) > 40 {
			parts[i] = parts[i][:40] + "..."
		}
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
