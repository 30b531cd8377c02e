package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// repair makes one true divergence equal. A version that has changed meanwhile
// is left alone: the next round looks at it again.
func (v *verifier) repair(ctx context.Context, s *suspect) error {
	if s.table.whole {
		return v.repairBag(ctx, s)
	}
	d := decide(s.versions, s.table.names, s.seen, s.touch, v.touched.origins)
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
		r := s.table.on[i]
		err := r.write(ctx, s, s.versions[i], d, values)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "23") { // integrity constraint violation
			s.problem = err
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

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
// transaction.
func (r *replica) write(ctx context.Context, s *suspect, old version, d verdict, values [][]byte) error {
	author := d.by.author
	if author == "" {
		// Nobody is known to have written it: the node that has it speaks for it.
		author = s.table.names[max(d.winner, 0)]
	}
	if err := r.act(ctx, author); err != nil {
		return err
	}
	var sql string
	var params [][]byte
	switch {
	case d.winner < 0:
		var where string
		where, params = r.byVersion(s.key, old.xmin, nil)
		sql = "DELETE FROM " + r.tab.only() + " AS t WHERE " + where
	case old.present:
		sql, params = r.replace(s, old, values)
	default:
		sql, params = r.add(s, values)
	}
	if sql == "" {
		return nil
	}
	return r.writeAt(ctx, d.by, sql, params)
}

// writeAt runs one statement in a transaction of the session's repair origin, at
// the time of the write that won.
func (r *replica) writeAt(ctx context.Context, by stamp, sql string, params [][]byte) error {
	// One Sync for both: they are one transaction. The position is of no
	// consequence, but an origin's transaction must have one.
	batch := &pgconn.Batch{}
	batch.ExecParams(`SELECT pg_catalog.pg_replication_origin_xact_setup('0/1', $1)`,
		[][]byte{[]byte(timestamp(max(by.at, 1)))}, nil, nil, nil)
	batch.ExecParams(sql, params, nil, nil, nil)
	if err := r.conn.ExecBatch(ctx, batch).Close(); err != nil {
		return r.wrap(fmt.Errorf("repair table %s: %w", r.tab.name, err))
	}
	return nil
}

// replace overwrites the loser's version of the row.
func (r *replica) replace(s *suspect, old version, values [][]byte) (string, [][]byte) {
	var sets []string
	var params [][]byte
	for i, name := range s.table.columns {
		if c, _ := r.tab.column(name); c.always || r.inKey(name) {
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

func (r *replica) inKey(name string) bool {
	return slices.ContainsFunc(r.key, func(k keyColumn) bool { return k.name == name })
}
