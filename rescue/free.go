package rescue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"healer/topology"
)

// Free takes rows off those survivors whose apply workers fail, that may keep the workers
// from going on. A survivor deletes a row of the lost node and inserts it anew; another
// one receives the DELETE while it lacks the row, and skips it; the gap, or a comparison,
// gives it the row; and the INSERT, which comes now, finds it and fails, over and over. So
// does a write of another row that has taken a unique value over from it.
//
// Whose worker fails says nothing about whose gap was carried last: it may be a laggard
// that has long got its gap, while another one gets its own. So the version of each
// touched row on a failing survivor is judged against those of all others; see inTheWay.
// What goes wrongly, as when an UPDATE was on its way and not an INSERT, the comparison
// puts back: it reads every touched key. Free returns how many rows it tried to take
// off, on each survivor that it has tried to take any off.
func Free(ctx context.Context, peers []Peer, failing []string, touched *Touched, lost string, conflicts Resolution) (tried map[string]int, err error) {
	v := &verifier{touched: touched, policy: Policy{Conflicts: conflicts}.complete()}
	defer func() { err = errors.Join(err, v.release(ctx)) }()
	if err := v.join(ctx, peers); err != nil {
		return nil, err
	}
	tried = map[string]int{}
	for _, name := range touched.names() {
		t, err := v.open(ctx, name, touched.tables[name].columns)
		if err != nil {
			return tried, err
		}
		if len(t.on) < 2 || t.whole {
			continue // nothing to be judged against, or no key that an INSERT could meet
		}
		if err := v.free(ctx, t, failing, lost, tried); err != nil {
			return tried, err
		}
	}
	return tried, nil
}

// free is Free for one table.
func (v *verifier) free(ctx context.Context, t *compared, failing []string, lost string, tried map[string]int) error {
	var all []*suspect
	err := v.touched.each(v.touched.tables[t.name], func(id string, e *touch) error {
		all = append(all, &suspect{table: t, key: decodeKey(id), touch: e})
		return nil
	})
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(all, v.policy.Batch) {
		if err := v.read(ctx, t, batch); err != nil {
			return err
		}
		for _, s := range batch {
			for at, name := range t.names {
				if !slices.Contains(failing, name) {
					continue
				}
				by, yes := v.policy.Conflicts.inTheWay(v.testimony(s, at), name, lost)
				if !yes {
					continue
				}
				// Counted before: who is interrupted does not know whether it was done.
				tried[name]++
				if _, err := t.on[at].write(ctx, s, s.versions[at], verdict{winner: -1, by: by}, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// testimony is what is known of a row whose version on one survivor is in question.
// Survivors that lack it count only when they have had it: another one may still lack
// its own gap. What one that is apart has done reaches nobody yet.
func (v *verifier) testimony(s *suspect, of int) situation {
	all := v.situation(s, s.versions)
	out := situation{touch: all.touch, lost: all.lost}
	for i, name := range all.names {
		counts := !s.table.on[i].apart && (all.versions[i].present || slices.Contains(s.touch.holders, name))
		if i == of || counts {
			out.names, out.versions, out.seen = append(out.names, name), append(out.versions, all.versions[i]), append(out.seen, stamp{})
		}
	}
	return out
}

// inTheWay reports whether the row that a survivor has is in the way of what it is still
// to receive: somebody has deleted it since, or written it anew. It is taken off as by:
// the deletion, or, of a row that is to come back, the very write that goes, so that the
// survivor's log never shows a deletion that wins.
//
// Nothing is lost with it: either a later version than this one stands, which the lost
// node has not written, or the row is gone for all; and that is what is decided without
// this version as well, by who has seen it or its deletion in a log and by who has not.
// Of a row whose best version is the lost node's, a survivor without it would be taken to
// have deleted it.
func (r Resolution) inTheWay(s situation, node, lost string) (by stamp, yes bool) {
	at := slices.Index(s.names, node)
	has := s.versions[at]
	if !has.present {
		return stamp{}, false
	}
	d := r.decide(s)
	if by = d.by; d.winner >= 0 {
		if d.by.author == lost || !d.by.after(has.stamp) {
			return stamp{}, false
		}
		by = has.stamp
	}
	if !r.standsWithout(s, at, d, by) {
		return stamp{}, false
	}
	return by, true
}

// standsWithout reports whether the same is decided when a survivor's version has been
// deleted by that write, by whoever knows that and by whoever does not.
func (r Resolution) standsWithout(s situation, at int, d verdict, by stamp) bool {
	has := s.versions[at].stamp
	s.versions, s.seen = slices.Clone(s.versions), slices.Clone(s.seen)
	s.versions[at] = version{}
	logged := *s.touch
	logged.deleted(by)
	for _, known := range []*touch{s.touch, &logged} {
		for _, s.seen[at] = range []stamp{{}, has} {
			if s.touch = known; !r.agrees(s, d) {
				return false
			}
		}
	}
	return true
}

// agrees reports whether the same is decided in this situation.
func (r Resolution) agrees(s situation, d verdict) bool {
	if !slices.ContainsFunc(s.versions, func(v version) bool { return v.present }) {
		return d.winner < 0
	}
	now := r.decide(s)
	return (now.winner < 0) == (d.winner < 0) && (now.winner < 0 || now.by == d.by)
}

// freeEvery is how often whoever waits for the survivors looks for rows that are in the
// way.
const freeEvery = 500 * time.Millisecond

// Meanwhile waits, and looks now and then while it does. It returns when neither is under
// way any more.
func Meanwhile(ctx context.Context, wait func(context.Context) error, look func(context.Context)) error {
	looking, end := context.WithCancel(ctx)
	var looks sync.WaitGroup
	looks.Go(func() {
		tick := time.NewTicker(freeEvery)
		defer tick.Stop()
		for {
			select {
			case <-looking.Done():
				return
			case <-tick.C:
				if looking.Err() == nil {
					look(looking)
				}
			}
		}
	})
	err := wait(ctx)
	end()
	looks.Wait()
	return err
}

// awaitSettled waits for Settle, and meanwhile has Free look for what may be in the way.
func (r *replay) awaitSettled(ctx context.Context) (until topology.LSN, err error) {
	if r.gap.Free == nil {
		return r.gap.Settle(ctx)
	}
	err = Meanwhile(ctx,
		func(ctx context.Context) (err error) { until, err = r.gap.Settle(ctx); return err },
		func(ctx context.Context) { r.gap.Free(ctx, r.touched) })
	return until, err
}
