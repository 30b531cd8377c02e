package rescue

import (
	"context"
	"strings"
)

// A TRUNCATE of the gap is old news when it comes to T: what T's applications, and
// other nodes, have written since is not in it. So it is carried over as what it
// means: every row goes that is not newer than the TRUNCATE, by last update wins.
// S has done without that distinction what its log says, and has lost newer rows:
// the whole table counts as touched, and Verify brings them back. No policy lets a
// TRUNCATE take newer rows; under Stop they stop it.
//
// PostgreSQL deletes no row of a table that publishes deletions and has no replica
// identity. Such a table is truncated under a lock, provided that no row of it is
// newer.

// truncateStep is one statement of a TRUNCATE.
type truncateStep byte

const (
	// truncateDelete removes the rows that are not newer.
	truncateDelete truncateStep = iota + 1
	// truncateLock, truncateGuard and truncateAll do it where rows cannot be
	// deleted.
	truncateLock
	truncateGuard
	truncateAll
	// truncateRestart resets the sequences of the columns, unless rows are
	// left.
	truncateRestart
)

// truncateSteps lists the statements for a table, in their order.
func (b *binding) truncateSteps(restart bool) []truncateStep {
	steps := []truncateStep{truncateDelete}
	if !b.tab.identified {
		steps = []truncateStep{truncateLock, truncateGuard, truncateAll}
	}
	if restart && len(b.tab.sequences) > 0 {
		steps = append(steps, truncateRestart)
	}
	return steps
}

// counts reports whether the step stands for the TRUNCATE in the report.
func (s truncateStep) counts() bool { return s == truncateDelete || s == truncateAll }

// truncate renders the step.
func (c *change) truncate(r rule) *statement {
	table := c.b.tab.only()
	switch c.step {
	case truncateLock:
		return &statement{sql: "LOCK TABLE " + table + " IN ACCESS EXCLUSIVE MODE"}
	case truncateGuard:
		// A cast that cannot succeed fails the statement.
		return &statement{stamped: true, sql: "SELECT (CASE WHEN n = 0 THEN 'true' ELSE 'the gap truncates the table, but ' || n || " +
			"' rows are newer, and it has no replica identity to delete the others by' END)::boolean " +
			"FROM (SELECT count(*) AS n FROM " + table + " AS t WHERE NOT " + r.later(1) + ") AS newer"}
	case truncateAll:
		return &statement{sql: "TRUNCATE " + table}
	case truncateRestart:
		var b strings.Builder
		for _, seq := range c.b.tab.sequences {
			b.WriteString("ALTER SEQUENCE " + seq + " RESTART; ")
		}
		body := "BEGIN IF NOT EXISTS (SELECT FROM " + table + ") THEN " + b.String() + "END IF; END"
		return &statement{sql: "DO " + quoteLiteral(body)}
	default:
		return &statement{stamped: true, sql: "DELETE FROM " + table + " AS t WHERE " + r.emptied(1)}
	}
}

// truncate empties T's tables, and remembers of a TRUNCATE that is not of the gap
// that the rows of the gap which are missing were removed.
func (r *replay) truncate(ctx context.Context, m message) error {
	by := stamp{at: r.tx.time, author: r.gap.author(r.tx.origin)}
	for _, id := range m.relIDs {
		b, err := r.binding(ctx, id)
		if err != nil {
			return err
		}
		if b == nil {
			r.leftOut(id)
			continue
		}
		if !r.tx.mine {
			// Rows that the gap did not touch are not Healer's business.
			b.note(r.touched).truncated(by)
			continue
		}
		if err := r.enter(ctx); err != nil {
			return err
		}
		tab := b.note(r.touched)
		tab.truncated(by)
		tab.sweep = true
		if !r.tx.apply {
			continue
		}
		for _, step := range b.truncateSteps(m.restart) {
			r.row = change{kind: msgTruncate, b: b, step: step}
			if err := r.target.change(ctx, &r.row); err != nil {
				return err
			}
		}
	}
	return nil
}

// sequencesQuery lists the sequences that columns of a table own.
const sequencesQuery = `
SELECT d.objid::regclass::text
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') AND n.nspname = $1 AND c.relname = $2
ORDER BY 1`

// sweepQuery reads the keys of all rows of a table.
func (r *replica) sweepQuery() string {
	cols := make([]string, len(r.key))
	for i, k := range r.key {
		cols[i] = "t." + quoteIdent(k.name)
	}
	return "SELECT " + strings.Join(cols, ", ") + " FROM " + r.tab.only() + " AS t"
}

// sweep touches every row that a replica has of a table which the gap truncated.
func (v *verifier) sweep(ctx context.Context, t *compared, touched *touchedTable) error {
	for _, r := range t.on {
		res := r.conn.ExecParams(ctx, r.sweepQuery(), nil, nil, nil, nil)
		for res.NextRow() {
			v.touched.add(t.name, touched.columns, touched.keyOf(res.Values()), "")
		}
		if _, err := res.Close(); err != nil {
			return r.wrap(err)
		}
	}
	return nil
}

// keyOf makes a key of a row's key columns as a server returns them.
func (t *touchedTable) keyOf(values [][]byte) Key {
	key := make(Key, len(values))
	for i, v := range values {
		switch {
		case !t.whole:
			key[i] = string(v)
		case v == nil:
			key[i] = wholeNull
		default:
			key[i] = wholeValue + string(v)
		}
	}
	return key
}
