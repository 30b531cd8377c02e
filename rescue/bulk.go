package rescue

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// bulkBytes bounds what is in memory of the rows that a repair writes.
	bulkBytes = 4 << 20
	// bulkRows is how many rows a transaction repairs at most: one that is refused
	// takes the others back.
	bulkRows = 200
)

// mend is a row with what is decided about it.
type mend struct {
	*suspect
	verdict
	// alone is set when it has to be tried on its own.
	alone bool
}

// edit is a statement that a mend needs on one replica.
type edit struct {
	*mend
	loser  int
	by     stamp
	sql    string
	params [][]byte
}

// repairAll repairs true divergences of one table as repair does, many at a time:
// rows that one write made are one transaction, as only they have its commit
// timestamp, and no transaction is waited for before the next one is sent. What is
// refused with others is tried again on its own.
func (v *verifier) repairAll(ctx context.Context, t *compared, todo []*suspect) error {
	if t.whole || len(todo) == 1 {
		return v.oneByOne(ctx, todo)
	}
	byWinner := map[int][]*mend{}
	for _, s := range todo {
		d := v.decide(s, s.versions)
		if s.ruling == nil {
			s.ruling = &d
		}
		byWinner[d.winner] = append(byWinner[d.winner], &mend{suspect: s, verdict: d})
	}
	// What is to go goes first: it may be in the way of another row.
	for winner := -1; winner < len(t.on); winner++ {
		mends := byWinner[winner]
		if len(mends) == 0 {
			continue
		}
		if err := v.writeFrom(ctx, t, winner, mends); err != nil {
			return err
		}
		var alone []*suspect
		for _, m := range mends {
			if m.alone {
				alone = append(alone, m.suspect)
			}
		}
		if err := v.oneByOne(ctx, alone); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) oneByOne(ctx context.Context, todo []*suspect) error {
	for _, s := range todo {
		if err := v.repair(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// writeFrom puts the rows of one replica, or with none of them their deletion, on
// the others.
func (v *verifier) writeFrom(ctx context.Context, t *compared, winner int, mends []*mend) error {
	edits := make([][]edit, len(t.on))
	size := 0
	flush := func() error {
		for i, list := range edits {
			if err := v.write(ctx, t.on[i], list); err != nil {
				return err
			}
			edits[i] = nil
		}
		size = 0
		return nil
	}
	add := func(m *mend, values [][]byte) error {
		for _, i := range m.losers {
			e := edit{mend: m, loser: i, by: t.author(m.verdict)}
			if e.sql, e.params = t.on[i].edit(m.suspect, m.versions[i], m.verdict, values); e.sql != "" {
				edits[i] = append(edits[i], e)
			}
		}
		for _, val := range values {
			size += len(val)
		}
		if size < bulkBytes {
			return nil
		}
		return flush()
	}
	if winner < 0 {
		for _, m := range mends {
			if err := add(m, nil); err != nil {
				return err
			}
		}
		return flush()
	}
	if err := t.on[winner].winners(ctx, t.columns, winner, mends, add); err != nil {
		return err
	}
	return flush()
}

// winners reads the rows in full, those that are still the versions that won.
func (r *replica) winners(ctx context.Context, columns []string, at int, mends []*mend, yield func(*mend, [][]byte) error) error {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = "t." + quoteIdent(c)
	}
	keys := make([]Key, len(mends))
	for i, m := range mends {
		keys[i] = m.key
	}
	res := r.conn.ExecParams(ctx, "SELECT k.i, t.xmin, "+strings.Join(quoted, ", ")+" FROM "+joinKeys(r.tab, r.key), keyArrays(keys), nil, nil, nil)
	for res.NextRow() {
		row := res.Values()
		i, err := strconv.Atoi(string(row[0]))
		if err != nil {
			return errors.Join(r.wrap(err), closed(res))
		}
		m := mends[i-1]
		if string(row[1]) != m.versions[at].xmin {
			continue // somebody writes it: look again
		}
		values := make([][]byte, len(columns))
		for j, val := range row[2:] {
			values[j] = bytes.Clone(val)
		}
		if err := yield(m, values); err != nil {
			return errors.Join(err, closed(res))
		}
	}
	if err := closed(res); err != nil {
		return r.wrap(err)
	}
	return nil
}

func closed(res *pgconn.ResultReader) error {
	_, err := res.Close()
	return err
}

// author is the stamp under which a verdict is written: when nobody is known to have
// written the row, the node that has it speaks for it.
func (t *compared) author(d verdict) stamp {
	if d.by.author == "" {
		return stamp{at: d.by.at, author: t.names[max(d.winner, 0)]}
	}
	return d.by
}

// write makes the edits on one replica, each under the origin of its author.
func (v *verifier) write(ctx context.Context, r *replica, edits []edit) error {
	slices.SortStableFunc(edits, func(a, b edit) int {
		return cmp.Or(strings.Compare(a.by.author, b.by.author), cmp.Compare(a.by.at, b.by.at))
	})
	for len(edits) > 0 {
		n := slices.IndexFunc(edits, func(e edit) bool { return e.by.author != edits[0].by.author })
		if n < 0 {
			n = len(edits)
		}
		if err := r.act(ctx, edits[0].by.author); err != nil {
			return err
		}
		if err := v.writeAs(ctx, r, edits[:n]); err != nil {
			return err
		}
		edits = edits[n:]
	}
	return nil
}

// writeAs makes the edits of one author, in a pipeline.
func (v *verifier) writeAs(ctx context.Context, r *replica, edits []edit) error {
	statements, err := r.prepareAll(ctx, edits)
	if err != nil {
		return err
	}
	var parts [][]edit
	for len(edits) > 0 {
		n := 1
		for n < len(edits) && n < bulkRows && edits[n].by.at == edits[0].by.at {
			n++
		}
		parts, edits = append(parts, edits[:n]), edits[n:]
	}
	pipe := r.conn.StartPipeline(ctx)
	for i, part := range parts {
		// The commits are flushed with the last one.
		begin := `SELECT pg_catalog.pg_replication_origin_xact_setup('0/1', $1)`
		if i < len(parts)-1 {
			begin += `, pg_catalog.set_config('synchronous_commit', 'off', true)`
		}
		pipe.SendQueryParams(begin, [][]byte{[]byte(timestamp(max(part[0].by.at, 1)))}, nil, nil, nil)
		for _, e := range part {
			pipe.SendQueryStatement(statements[e.sql], e.params, nil, nil)
		}
		if err := pipe.Sync(); err != nil {
			return errors.Join(r.wrap(err), pipe.Close())
		}
	}
	for _, part := range parts {
		if err := v.answers(pipe, part); err != nil {
			return errors.Join(r.wrap(fmt.Errorf("repair table %s: %w", r.tab.name, err)), pipe.Close())
		}
	}
	if err := pipe.Close(); err != nil {
		return r.wrap(err)
	}
	return nil
}

// answers reads those of one transaction.
func (v *verifier) answers(pipe *pgconn.Pipeline, part []edit) error {
	var refused error
	var written []bool
	for {
		res, err := pipe.GetResults()
		var pg *pgconn.PgError
		switch {
		case errors.As(err, &pg) && refusedBy(pg.Code):
			refused = err
			continue
		case err != nil:
			return err
		}
		reader, ok := res.(*pgconn.ResultReader)
		if !ok {
			break // the Sync
		}
		tag, err := reader.Close()
		if errors.As(err, &pg) && refusedBy(pg.Code) {
			refused = err
			continue
		}
		if err != nil {
			return err
		}
		written = append(written, tag.RowsAffected() > 0)
	}
	for i, e := range part {
		switch {
		case refused != nil:
			e.alone = true
		case written[i+1]: // the first answer is that of the frame
			v.conflicts.Add(e.conflict(e.loser, e.verdict))
		}
	}
	return nil
}

// prepareAll prepares the statements that are new to the session.
func (s *survivor) prepareAll(ctx context.Context, edits []edit) (map[string]*pgconn.StatementDescription, error) {
	if s.prepared == nil {
		// The connection may have been another verification's.
		if err := s.conn.Exec(ctx, "DEALLOCATE ALL").Close(); err != nil {
			return nil, s.wrap(err)
		}
		s.prepared = map[string]*pgconn.StatementDescription{}
	}
	for _, e := range edits {
		if s.prepared[e.sql] != nil {
			continue
		}
		desc, err := s.conn.Prepare(ctx, "healer_repair_"+strconv.Itoa(len(s.prepared)), e.sql, nil)
		if err != nil {
			return nil, s.wrap(fmt.Errorf("repair table %s: %w", e.table.name, err))
		}
		s.prepared[e.sql] = desc
	}
	return s.prepared, nil
}
