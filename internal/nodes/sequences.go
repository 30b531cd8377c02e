package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"

	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// sequenceMargin is how many steps a sequence is set beyond what its column has: what
// the node had given out before it was lost, and nobody has received, is not in the table,
// but may be known outside of it.
const sequenceMargin = 1000

// sequence is one of a node's, with the column that owns it, if one does.
type sequence struct {
	topology.TableName
	Start     int64              `json:"start"`
	Increment int64              `json:"increment"`
	Min       int64              `json:"min"`
	Max       int64              `json:"max"`
	Owner     topology.TableName `json:"owner"`
	Column    string             `json:"column"`
}

// sequenceSet is what a sequence gives next.
type sequenceSet struct {
	Sequence string `json:"sequence"`
	Next     int64  `json:"next"`
}

// sequencesSQL lists the sequences of the database. Serial and identity columns own
// theirs (pg_depend, deptype a and i).
const sequencesSQL = `SELECT coalesce(jsonb_agg(jsonb_build_object(
		'schema', n.nspname, 'name', c.relname, 'start', s.seqstart, 'increment', s.seqincrement, 'min', s.seqmin, 'max', s.seqmax,
		'owner', jsonb_build_object('schema', coalesce(tn.nspname, ''), 'name', coalesce(t.relname, '')),
		'column', coalesce(a.attname, '')) ORDER BY n.nspname, c.relname), '[]')
	FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
		AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
	LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
	LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
	WHERE c.relpersistence <> 't'`

// setSequences sets the sequences that columns of the copied tables own beyond all that
// these have. Each stays in the series of its own start and increment, by which nodes may
// share a column. What is not set is named.
func (r *rebuild) setSequences(ctx context.Context) error {
	var all []sequence
	if err := r.Servers[r.o.node].JSON(ctx, &all, sequencesSQL); err != nil {
		return err
	}
	owned := func(q sequence) bool {
		return slices.ContainsFunc(r.tables, func(t engine.Replica) bool { return t.TableName == q.Owner })
	}
	for _, q := range all {
		if !owned(q) {
			r.note("sequence %s belongs to no column of a replicated table: set it as %s needs it", q.TableName, r.o.node)
			continue
		}
		if err := r.setSequence(ctx, q); err != nil {
			return err
		}
	}
	return r.sameSeries(ctx, slices.DeleteFunc(all, func(q sequence) bool { return !owned(q) }))
}

func (r *rebuild) note(format string, args ...any) {
	r.result.Notes = append(r.result.Notes, fmt.Sprintf(format, args...))
}

// setSequence sets one, unless it is that far already.
func (r *rebuild) setSequence(ctx context.Context, q sequence) error {
	s, furthest := r.Servers[r.o.node], "max"
	if q.Increment < 0 {
		furthest = "min"
	}
	var raw []byte
	err := s.Slow(ctx, fmt.Sprintf(`SELECT jsonb_build_object('next', q.last_value::numeric + CASE WHEN q.is_called THEN %d ELSE 0 END,
		'end', (SELECT %s(%s)::bigint FROM %s)) FROM %s q`, q.Increment, furthest, postgres.Ident(q.Column), ident(q.Owner), ident(q.TableName)), nil, &raw)
	var at struct{ Next, End *big.Int }
	if err == nil {
		err = json.Unmarshal(raw, &at)
	}
	switch {
	case ctx.Err() != nil:
		return err
	case err != nil:
		r.note("sequence %s is not set (%v): set it beyond %s of %s", q.TableName, err, q.Column, q.Owner)
		return nil
	case at.End == nil:
		return nil // the table is empty
	}
	next, ok := q.beyond(at.End)
	if !ok {
		r.note("sequence %s is used up: %s of %s is %s, and it ends at %d", q.TableName, q.Column, q.Owner, at.End, q.last())
		return nil
	}
	if at.Next.Cmp(big.NewInt(next))*sign(q.Increment) < 0 {
		if err := s.Exec(ctx, `SELECT setval($1::regclass, $2, false)`, ident(q.TableName), next); err != nil {
			r.note("sequence %s is not set (%v): SELECT setval('%s', %d, false)", q.TableName, err, ident(q.TableName), next)
			return ctx.Err()
		}
		r.result.Sequences = append(r.result.Sequences, sequenceSet{q.TableName.String(), next})
	}
	return nil
}

// last is the end of the sequence.
func (q sequence) last() int64 {
	if q.Increment < 0 {
		return q.Min
	}
	return q.Max
}

// beyond is the first value of the sequence's own series that lies the margin beyond end,
// or, where the series ends before that, the next one behind end; false when there is none.
func (q sequence) beyond(end *big.Int) (int64, bool) {
	for _, margin := range []int64{sequenceMargin, 1} {
		inc := big.NewInt(q.Increment)
		// The number of steps from the start, rounded up.
		steps := new(big.Int).Sub(end, big.NewInt(q.Start))
		rest := new(big.Int)
		steps.QuoRem(steps, inc, rest)
		if rest.Sign()*sign(q.Increment) > 0 {
			steps.Add(steps, big.NewInt(1))
			margin--
		}
		steps.Add(steps, big.NewInt(margin))
		if steps.Sign() < 0 {
			steps.SetInt64(0)
		}
		next := steps.Mul(steps, inc)
		next.Add(next, big.NewInt(q.Start))
		if next.Cmp(big.NewInt(q.Min)) >= 0 && next.Cmp(big.NewInt(q.Max)) <= 0 {
			return next.Int64(), true
		}
	}
	return 0, false
}

func sign(n int64) int {
	if n < 0 {
		return -1
	}
	return 1
}

// sameSeries names the sequences by which nodes would give the same values where they
// are meant to share a column: a schema that comes from the source has the source's starts.
func (r *rebuild) sameSeries(ctx context.Context, mine []sequence) error {
	for _, p := range r.peers {
		var theirs []sequence
		if err := r.Servers[p].JSON(ctx, &theirs, sequencesSQL); err != nil {
			return err
		}
		for _, q := range mine {
			i := slices.IndexFunc(theirs, func(o sequence) bool { return o.TableName == q.TableName })
			if i >= 0 && q.clashes(theirs[i]) {
				r.note("sequence %s has the same series on %s and %s, by steps of %d from %d: on %s: ALTER SEQUENCE %s START WITH ... RESTART WITH ..., each in a series of its own",
					q.TableName, r.o.node, p, q.Increment, q.Start, r.o.node, ident(q.TableName))
			}
		}
	}
	return nil
}

// clashes reports whether two sequences that go by the same step, greater than one, give
// the same values.
func (q sequence) clashes(o sequence) bool {
	return q.Increment == o.Increment && q.Increment*int64(sign(q.Increment)) > 1 && (q.Start-o.Start)%q.Increment == 0
}
