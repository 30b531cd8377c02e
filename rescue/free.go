package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// Free takes rows off the laggard that the gap has brought back there, and that may keep
// its apply workers from going on. A survivor deletes a row of the lost node and inserts
// it anew; the laggard receives the DELETE while it lacks the row, and skips it; the gap
// gives it the row; and the INSERT, which comes now, finds it and fails, over and over.
//
// Of the touched keys those go whose version on the laggard is the lost node's, while
// the source has none or another one's: the source has had all that the laggard was
// given, so somebody has written or deleted the row after that. What goes wrongly, as
// when an UPDATE was on its way and not an INSERT, the verification puts back: it
// compares every touched key. It returns how many rows went.
func Free(ctx context.Context, source, laggard Peer, lost string, touched *Touched) (freed int, err error) {
	v := &verifier{touched: touched, policy: Policy{}.complete()}
	defer func() { err = errors.Join(err, v.release(ctx)) }()
	for _, p := range []Peer{source, laggard} {
		s, err := openSurvivor(ctx, p)
		if err != nil {
			return 0, err
		}
		v.survivors = append(v.survivors, s)
	}
	for _, name := range touched.names() {
		t, err := v.open(ctx, name, touched.tables[name].columns)
		if err != nil {
			return freed, err
		}
		if len(t.on) < 2 || t.whole {
			continue // nothing to be equal to, or no key that an INSERT could meet
		}
		n, err := v.free(ctx, t, lost)
		if freed += n; err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// The places of the two in a table that Free has opened.
const atSource, atLaggard = 0, 1

// free is Free for one table.
func (v *verifier) free(ctx context.Context, t *compared, lost string) (freed int, err error) {
	var all []*suspect
	err = v.touched.each(v.touched.tables[t.name], func(id string, e *touch) error {
		all = append(all, &suspect{table: t, key: decodeKey(id), touch: e})
		return nil
	})
	if err != nil {
		return 0, err
	}
	for batch := range slices.Chunk(all, v.policy.Batch) {
		if err := v.read(ctx, t, batch); err != nil {
			return freed, err
		}
		for _, s := range batch {
			has, given := s.versions[atSource], s.versions[atLaggard]
			if !given.present || given.stamp.author != lost || has.present && (has.stamp.author == lost || has.digest == given.digest) {
				continue
			}
			by := stamp{at: max(given.stamp.at, time.Now().UnixMicro()-pgEpoch().UnixMicro()), author: t.names[atSource]}
			if has.present {
				by = has.stamp
			}
			done, err := t.on[atLaggard].write(ctx, s, given, verdict{winner: -1, by: by}, nil)
			if err != nil {
				return freed, err
			}
			if done {
				freed++
			}
		}
	}
	return freed, nil
}

// ApplyFailures is how often apply workers of the server have failed so far.
func ApplyFailures(ctx context.Context, conn *pgconn.PgConn) (int64, error) {
	got, err := rows(ctx, conn, `SELECT coalesce(sum(apply_error_count), 0)::text FROM pg_catalog.pg_stat_subscription_stats`)
	if err != nil {
		return 0, fmt.Errorf("failures of apply workers: %w", err)
	}
	return strconv.ParseInt(string(got[0][0]), 10, 64)
}

// FreeEvery is how often whoever waits for the survivors asks for rows that are in the
// way.
const FreeEvery = time.Second

// awaitSettled waits for Settle, and meanwhile has Free look for what may be in the way.
func (r *replay) awaitSettled(ctx context.Context) (topology.LSN, error) {
	if r.gap.Free == nil {
		return r.gap.Settle(ctx)
	}
	type settled struct {
		until topology.LSN
		err   error
	}
	done := make(chan settled, 1)
	go func() {
		until, err := r.gap.Settle(ctx)
		done <- settled{until, err}
	}()
	tick := time.NewTicker(FreeEvery)
	defer tick.Stop()
	for {
		select {
		case s := <-done:
			return s.until, s.err
		case <-tick.C:
			r.gap.Free(ctx, r.touched)
		}
	}
}
