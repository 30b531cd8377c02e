package rescue

import (
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// FoundClash is met in a comparison: the row that won has a unique value which
// another row of the node has.
const FoundClash topology.ConflictKind = "row_unique"

// contest settles a repair that a unique constraint of a survivor refuses, by the
// claims of the two rows: the one that loses gets the best version that it has
// besides, or goes from all survivors. Both are looked at again. False leaves the
// refusal to be reported.
func (v *verifier) contest(s *suspect, at int, d verdict, other *otherRow, refused error) bool {
	var pg *pgconn.PgError
	if !v.contests || other == nil || d.winner < 0 || s.table.whole || !errors.As(refused, &pg) || pg.Code != uniqueViolation {
		return false
	}
	rival := v.suspect(s.table, other.id)
	of, rules := v.situation(s, s.versions), v.policy.Conflicts
	mine := rules.claimOf(rules.rank(of, d.by, false), d.by)
	theirs := rules.claimOf(rules.rank(of, other.by, false), other.by)
	if rival.touch.beaten(other.by) {
		return true // it is about to go
	}
	met := s.conflict(at, d)
	met.Kind, met.Action = FoundClash, topology.ActionKept
	met.OtherKey, met.Constraint = other.key, pg.ConstraintName
	met.Local = &topology.RowWrite{Node: other.by.author, At: timeOf(other.by.at)}
	if mine.beats(theirs) {
		met.Action = topology.ActionDeleted
		rival.touch.yielded(defeat{write: other.by, to: d.by})
	} else {
		s.touch.yielded(defeat{write: d.by, to: other.by})
	}
	v.conflicts.Add(met)
	v.added = append(v.added, rival)
	return true
}

// suspect returns what is known of a row that may be none of those under judgement.
func (v *verifier) suspect(t *compared, key Key) *suspect {
	for _, list := range [][]*suspect{v.judged, v.added} {
		i := slices.IndexFunc(list, func(s *suspect) bool { return s.table == t && slices.Equal(s.key, key) })
		if i >= 0 {
			return list[i]
		}
	}
	return &suspect{table: t, key: key, touch: &touch{}}
}
