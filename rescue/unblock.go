package rescue

import (
	"context"
	"errors"
	"slices"
)

// Blocked is a survivor whose apply worker fails, and what it fails at.
type Blocked struct {
	// Node is the survivor, Provider the one that the worker reads from.
	Node, Provider string
	// Next has what comes next for Node; see OpenNext.
	Next *Stream
	// Waits reports whether Node has still applied no more than when Next was opened. A
	// row that was read before was then not made by what comes, and is still in its way.
	Waits func(ctx context.Context) (bool, error)
}

// Unblock takes those rows off a survivor that the next transaction of another one
// creates there, when they are remains: the provider has had that very version, has
// deleted it since and writes the row anew; or it has a version which is as late, and
// which was made on top of the row that comes. It finds by the failing transaction itself
// what Free finds by the keys of a gap, so also rows of gaps whose keys are not known any
// more.
//
// Nothing is lost. The transaction carries the row, and the provider has what is later.
// Two rows that were written side by side with one key stay: neither provider has had the
// other's. The keys taken off are returned also with an error, for a comparison: where
// the version that went is the last one, it alone puts that back.
func Unblock(ctx context.Context, peers []Peer, blocked Blocked, lost string, conflicts Resolution) (off *Touched, err error) {
	off = newTouched()
	v := &verifier{touched: newTouched(), policy: Policy{Conflicts: conflicts}.complete()}
	defer func() { err = errors.Join(err, v.release(ctx)) }()
	u := unblocking{verifier: v, blocked: blocked, lost: lost, off: off}
	for _, p := range peers {
		s, err := openSurvivor(ctx, p)
		if err != nil {
			return off, err
		}
		v.survivors = append(v.survivors, s)
		switch p.Node {
		case blocked.Node:
			u.node = s
		case blocked.Provider:
			u.provider = s
		}
	}
	if u.node == nil || u.provider == nil {
		return off, nil // one of them is no survivor
	}
	tx, err := (&intake{stream: blocked.Next, to: u.node}).next(ctx)
	if err != nil || tx == nil {
		return off, err
	}
	for len(tx.rows) > 0 && err == nil {
		b := tx.rows[0].b
		same := func(r incomingRow) bool { return r.b == b }
		var keys []Key
		for _, r := range tx.rows {
			if same(r) {
				keys = append(keys, r.key)
			}
		}
		tx.rows = slices.DeleteFunc(tx.rows, same)
		err = u.table(ctx, b, keys, stamp{at: tx.at, author: blocked.Provider})
	}
	return off, err
}

// unblocking is one Unblock.
type unblocking struct {
	*verifier
	blocked        Blocked
	node, provider *survivor
	lost           string
	off            *Touched
}

// table is Unblock for the rows of one table that come by one write.
func (u *unblocking) table(ctx context.Context, b *binding, keys []Key, by stamp) error {
	t, err := u.open(ctx, b.rel.table, b.keyColumns())
	if err != nil {
		return err
	}
	at, from := slices.Index(t.names, u.blocked.Node), slices.Index(t.names, u.blocked.Provider)
	if at < 0 || from < 0 {
		return nil
	}
	for batch := range slices.Chunk(keys, u.policy.Batch) {
		all := make([]*suspect, len(batch))
		for i, key := range batch {
			all[i] = &suspect{table: t, key: key, touch: &touch{}}
		}
		if err := u.read(ctx, t, all); err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(s *suspect) bool { return !s.versions[at].present })
		if waits, err := u.blocked.Waits(ctx); err != nil || !waits {
			return err
		}
		had, err := u.had(ctx, all, at)
		if err != nil {
			return err
		}
		for _, s := range all {
			m := meeting{
				node: u.blocked.Node, provider: u.blocked.Provider, comes: by,
				has: s.versions[at], theirs: s.versions[from], had: had[s.versions[at].stamp],
			}
			for i, name := range t.names {
				if i != at && i != from {
					m.others = append(m.others, name)
				}
				m.contested = m.contested || s.versions[i].present && s.versions[i].stamp.author == u.lost && s.versions[i].stamp.after(by)
			}
			as, yes := u.policy.Conflicts.remains(m, u.lost)
			if !yes {
				continue
			}
			u.off.addTo(b.note(u.off), []byte(s.key.encode()), "")
			if _, err := t.on[at].write(ctx, s, s.versions[at], verdict{winner: -1, by: as}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// hadSQL looks among the newest transactions for those with some commit timestamps.
const hadSQL = `SELECT (extract(epoch FROM c.timestamp) * 1000000 - 946684800000000)::bigint, c.roident
FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) s,
	generate_series(greatest(s.next - 500000, 3), s.next - 1) x,
	LATERAL pg_xact_commit_timestamp_origin((x % 4294967296)::text::xid) c
WHERE x % 4294967296 >= 3 AND c.timestamp = ANY ($1::timestamptz[])`

// had are the writes that made the versions on the blocked survivor, as far as the
// provider has committed or applied them among its newest half a million transactions.
func (u *unblocking) had(ctx context.Context, all []*suspect, at int) (map[stamp]bool, error) {
	var times []string
	for _, s := range all {
		if v := s.versions[at]; v.stamp.at != unknownTime {
			times = append(times, timestamp(v.stamp.at))
		}
	}
	out := map[stamp]bool{}
	if len(times) == 0 {
		return out, nil
	}
	slices.Sort(times)
	got, err := rows(ctx, u.provider.conn, hadSQL, textArray(slices.Compact(times)))
	if err != nil {
		return nil, u.provider.wrap(err)
	}
	for _, r := range got {
		s, err := u.provider.stamp(r[0], r[1])
		if err != nil {
			return nil, u.provider.wrap(err)
		}
		out[s] = true
	}
	return out, nil
}

// meeting is a row on a survivor and the write that meets it there.
type meeting struct {
	node, provider string
	others         []string
	// comes is the write of the provider's that creates the row.
	comes stamp
	// has is the survivor's version, theirs the provider's now. had is set when the
	// provider has had has; contested when the lost node has written the row later.
	has, theirs    version
	had, contested bool
}

// remains reports whether the row that a survivor has may go for the one that comes,
// and as what: a deletion that never wins against what stands.
func (r Resolution) remains(m meeting, lost string) (as stamp, yes bool) {
	has := m.has
	if !has.present || has.stamp.at == unknownTime || has.stamp.author == "" || m.contested {
		return stamp{}, false
	}
	first := version{present: true, digest: "comes", stamp: m.comes}
	names := []string{m.node, m.provider}
	if m.comes.after(has.stamp) {
		// The provider has had it, and still could write the row anew: it had deleted it.
		if !m.had {
			return stamp{}, false
		}
		return r.inTheWay(situation{
			names: names, versions: []version{has, first}, seen: make([]stamp, len(names)),
			touch: &touch{holders: []string{m.provider}},
		}, m.node, lost)
	}
	// It was made on top of what comes. The provider must have it, or a later one, and
	// a survivor have written it: of the lost node's it would be taken to be deleted.
	// Where nothing is repaired, nothing would be put back.
	stands := m.theirs
	switch {
	case has.stamp == m.comes:
		stands = first
	case r == Stop:
		return stamp{}, false
	}
	again := stands.present && (stands.stamp == has.stamp || stands.stamp.after(has.stamp) && m.had)
	if !again || !slices.Contains(append(names, m.others...), has.stamp.author) || stands.stamp.author == lost {
		return stamp{}, false
	}
	for _, tomb := range []*stamp{nil, &m.comes} {
		d := r.decide(situation{
			names: names, versions: []version{{}, stands}, seen: make([]stamp, len(names)),
			touch: &touch{holders: []string{m.provider}, tomb: tomb},
		})
		if d.winner < 0 {
			return stamp{}, false
		}
	}
	return m.comes, true
}
