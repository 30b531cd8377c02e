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

// repair makes one true divergence equal. A version that has changed meanwhile
// is left alone: the next round looks at it again.
func (v *verifier) repair(ctx context.Context, s *suspect) error {
	if s.table.whole {
		return v.repairBag(ctx, s)
	}
	d := v.decide(s, s.versions)
	if s.ruling == nil {
		s.ruling = &d
	}
	var values [][]byte
	if d.winner >= 0 {
		var err error
		values, err = s.table.on[d.winner].row(ctx, s.table.columns, s.key, s.versions[d.winner].xmin)
		if values == nil || err != nil {
			return err
		}
	}
	for _, i := range d.losers {
		done, err := s.table.on[i].write(ctx, s, s.versions[i], d, values)
		if other, refused := s.table.on[i].refusal(ctx, err); refused != nil {
			if v.contest(s, i, d, other, err) {
				s.repairs-- // it has not been tried as it is now
				return nil
			}
			s.problem, s.inTheWay = refused, other
			continue
		}
		if err != nil {
			return err
		}
		if done {
			v.conflicts.Add(s.conflict(i, d))
		}
	}
	return nil
}

// decide says which of the versions of a row wins.
func (v *verifier) decide(s *suspect, versions []version) verdict {
	if v.policy.Source != "" {
		return s.bySource(v.policy.Source, versions)
	}
	return v.policy.Conflicts.decide(v.situation(s, versions))
}

// bySource has one node's version stand, or the row's absence there.
func (s *suspect) bySource(source string, versions []version) verdict {
	at := slices.Index(s.table.names, source)
	if from := versions[at]; from.present {
		return verdict{winner: at, by: from.stamp, losers: where(versions, func(v version) bool {
			return !v.present || v.digest != from.digest
		})}
	}
	by := stamp{at: unknownTime, author: source}
	for _, v := range versions {
		by.at = max(by.at, v.stamp.at)
	}
	return verdict{winner: -1, by: by, losers: where(versions, func(v version) bool { return v.present })}
}

// errContested is why a row stays that several nodes have written.
var errContested = errors.New("several nodes have written it: say by --source or --conflicts which version is to stand")

// contested reports whether versions of the row were written by different nodes, as
// far as that is known.
func (s *suspect) contested() bool {
	first := slices.IndexFunc(s.versions, func(v version) bool { return v.present })
	return slices.ContainsFunc(s.versions, func(v version) bool {
		return v.present && (v.stamp.author != s.versions[first].stamp.author || v.stamp.author == "") &&
			v.digest != s.versions[first].digest
	})
}

func (v *verifier) situation(s *suspect, versions []version) situation {
	return situation{
		versions: versions, names: s.table.names, seen: s.seen, touch: v.touchOf(s, versions),
		lost: v.touched.origins, sources: v.sources(s),
	}
}

// sources are the survivors that had the gap before others, as the logs have shown or,
// without a log, as the caller knows.
func (v *verifier) sources(s *suspect) []string {
	out := slices.Clip(s.touch.holders)
	for _, d := range v.deletions {
		if d.Of == "" {
			out = append(out, d.Holder)
		}
	}
	return out
}

// touchOf is what is known of a row's changes: without a log, that a row which the
// one with the transactions lacks was deleted by one of them.
func (v *verifier) touchOf(s *suspect, versions []version) *touch {
	var tomb *stamp
	for _, d := range v.deletions {
		i := slices.Index(s.table.names, d.Holder)
		others := d.Of != "" && slices.ContainsFunc(versions, func(v version) bool { return v.present && v.stamp.author != d.Of })
		has := func(name string) bool {
			i := slices.Index(s.table.names, name)
			return i < 0 || versions[i].present
		}
		if i < 0 || versions[i].present || others || slices.ContainsFunc(d.All, has) {
			continue
		}
		by := stamp{at: d.At.UnixMicro() - pgEpoch().UnixMicro(), author: d.Author}
		if tomb == nil || by.after(*tomb) {
			tomb = &by
		}
	}
	if tomb == nil {
		return s.touch
	}
	t := *s.touch
	t.tomb = tomb
	return &t
}

// The conflicts that a comparison finds: on the node a write was not applied.
const (
	// FoundDiffering: the node has another version of the row.
	FoundDiffering topology.ConflictKind = "row_differs"
	// FoundMissing: the node has no such row, or too few copies of it.
	FoundMissing topology.ConflictKind = "row_missing"
	// FoundDeleted: the node has a row that was deleted, or too many copies.
	FoundDeleted topology.ConflictKind = "row_deleted"
)

// conflict is what a verdict means for a loser.
func (s *suspect) conflict(i int, d verdict) topology.RowConflict {
	old := s.versions[i]
	c := topology.RowConflict{
		Kind: FoundDiffering, Table: s.table.name.String(), Key: namedKey(s.table.on[i].key, s.key, s.table.whole), Node: s.table.names[i],
		Remote: topology.RowWrite{Node: d.by.author, At: timeOf(d.by.at)}, Action: topology.ActionApplied,
	}
	if old.present {
		c.Local = &topology.RowWrite{Node: old.stamp.author, At: timeOf(old.stamp.at)}
	}
	switch {
	case d.winner < 0:
		c.Kind, c.Action = FoundDeleted, topology.ActionDeleted
	case !old.present:
		c.Kind, c.Action = FoundMissing, topology.ActionAdded
	}
	return c
}

// leave reports a row that stays different: for each survivor but those with what
// would have won.
func (v *verifier) leave(s *suspect) {
	var left []topology.RowConflict
	if s.table.whole {
		target, winner := s.copiesWanted()
		for i, have := range s.versions {
			if have.count() != target {
				left = append(left, s.copiesConflict(i, target, winner))
			}
		}
	} else {
		d := v.decide(s, s.versions)
		for _, i := range d.losers {
			left = append(left, s.conflict(i, d))
		}
	}
	for _, c := range left {
		c.Action = topology.ActionStopped
		var pg *pgconn.PgError
		if errors.As(s.problem, &pg) {
			c.Constraint = pg.ConstraintName
		}
		if s.inTheWay != nil {
			c.OtherKey = s.inTheWay.key
			c.Local = &topology.RowWrite{Node: s.inTheWay.by.author, At: timeOf(s.inTheWay.by.at)}
		}
		v.conflicts.Add(c)
	}
}

// refusedBy reports whether a survivor's definition of the table stands against a
// repair: a constraint, or that it has no replica identity to update a row by.
func refusedBy(code string) bool { return strings.HasPrefix(code, "23") || code == "55000" }

// row reads the winner in full; nil when it is no longer that version.
func (r *replica) row(ctx context.Context, columns []string, key Key, xmin string) ([][]byte, error) {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = "t." + quoteIdent(c)
	}
	where, params := r.byVersion(key, xmin, nil)
	got, err := rows(ctx, r.conn, "SELECT "+strings.Join(quoted, ", ")+" FROM "+r.tab.only()+" AS t WHERE "+where, params...)
	if err != nil {
		return nil, r.wrap(err)
	}
	if len(got) == 0 {
		return nil, nil
	}
	return got[0], nil
}

// byVersion is the condition for one version of one row; its parameters follow
// those given.
func (r *replica) byVersion(key Key, xmin string, params [][]byte) (string, [][]byte) {
	conds := make([]string, 0, len(key)+1)
	for i, k := range r.key {
		params = append(params, []byte(key[i]))
		conds = append(conds, "t."+quoteIdent(k.name)+" "+k.equals+" $"+strconv.Itoa(len(params)))
	}
	params = append(params, []byte(xmin))
	conds = append(conds, "t.xmin = $"+strconv.Itoa(len(params)))
	return strings.Join(conds, " AND "), params
}

// write puts the verdict on a loser, as its author, at its time, in one
// transaction. It reports whether there was still anything to write over.
func (r *replica) write(ctx context.Context, s *suspect, old version, d verdict, values [][]byte) (bool, error) {
	if err := r.act(ctx, s.table.author(d).author); err != nil {
		return false, err
	}
	sql, params := r.edit(s, old, d, values)
	if sql == "" {
		return false, nil
	}
	return r.writeAt(ctx, d.by, sql, params)
}

// edit is the statement that puts the verdict in the place of the loser's version,
// empty when there is nothing that could be written.
func (r *replica) edit(s *suspect, old version, d verdict, values [][]byte) (string, [][]byte) {
	switch {
	case d.winner < 0:
		where, params := r.byVersion(s.key, old.xmin, nil)
		return "DELETE FROM " + r.tab.only() + " AS t WHERE " + where, params
	case old.present:
		return r.replace(s, old, values)
	default:
		return r.add(s, values)
	}
}

// writeAt runs one statement in a transaction of the session's repair origin, at
// the time of the write that won. It reports whether that wrote anything.
func (r *replica) writeAt(ctx context.Context, by stamp, sql string, params [][]byte) (bool, error) {
	// One Sync for both: they are one transaction. The position is of no
	// consequence, but an origin's transaction must have one.
	batch := &pgconn.Batch{}
	batch.ExecParams(`SELECT pg_catalog.pg_replication_origin_xact_setup('0/1', $1)`,
		[][]byte{[]byte(timestamp(max(by.at, 1)))}, nil, nil, nil)
	batch.ExecParams(sql, params, nil, nil, nil)
	got, err := r.conn.ExecBatch(ctx, batch).ReadAll()
	if err != nil {
		return false, r.wrap(fmt.Errorf("repair table %s: %w", r.tab.name, err))
	}
	return got[len(got)-1].CommandTag.RowsAffected() > 0, nil
}

// replace overwrites the loser's version of the row.
func (r *replica) replace(s *suspect, old version, values [][]byte) (string, [][]byte) {
	var sets []string
	var params [][]byte
	for i, name := range s.table.columns {
		if c, _ := r.tab.column(name); c.always || r.hasKey(s.key, name, values[i]) {
			continue
		}
		params = append(params, values[i])
		sets = append(sets, quoteIdent(name)+" = $"+strconv.Itoa(len(params)))
	}
	if len(sets) == 0 {
		return "", nil
	}
	where, params := r.byVersion(s.key, old.xmin, params)
	return "UPDATE " + r.tab.only() + " AS t SET " + strings.Join(sets, ", ") + " WHERE " + where, params
}

// add inserts the row the loser lacks, unless it has got one by now.
func (r *replica) add(s *suspect, values [][]byte) (string, [][]byte) {
	names := make([]string, len(s.table.columns))
	places := make([]string, len(names))
	for i, name := range s.table.columns {
		names[i] = quoteIdent(name)
		places[i] = "$" + strconv.Itoa(i+1)
	}
	key := make([]string, len(r.key))
	for i, k := range r.key {
		key[i] = quoteIdent(k.name)
	}
	return "INSERT INTO " + r.tab.sql() + " AS t (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE VALUES (" +
		strings.Join(places, ", ") + ") ON CONFLICT (" + strings.Join(key, ", ") + ") DO NOTHING", values
}

// hasKey reports whether a column is one of the key's and the value is the key's
// own: a value may be equal to it in other words, such as 1.00 to 1.
func (r *replica) hasKey(key Key, name string, value []byte) bool {
	i := slices.IndexFunc(r.key, func(k keyColumn) bool { return k.name == name })
	return i >= 0 && key[i] == string(value)
}
