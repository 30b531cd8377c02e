package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// Unblock takes those rows off a survivor that keep it from applying the next transaction
// of another one, when they are remains. It finds by the failing transaction itself what
// Free finds by the keys of a gap, so also rows of gaps whose keys are not known any more.
//
// A row that the transaction creates is in its way where the provider has had that very
// version, has deleted it since and writes the row anew; or has written that version later,
// so that it comes behind; or has a version which is as late, and which was made on top of
// the row that comes. Nothing is lost: the transaction carries the row, and the provider has
// what is later.
//
// Another row is in its way that has a value which the transaction gives to a row, in a
// unique index on columns. Where the provider has had that very version, and has it no
// more, it goes, or the version takes its place that a comparison would write there.
//
// What was written side by side stays: neither provider has had the other's. So does what
// meets in an index on expressions or with a predicate: of what comes they are not
// evaluated. The keys of what was written are returned also with an error, for a
// comparison: where the version that went is the last one, it alone puts that back.
func Unblock(ctx context.Context, peers []Peer, blocked Blocked, lost string, conflicts Resolution) (off *Touched, err error) {
	off = newTouched()
	v := &verifier{touched: newTouched(), policy: Policy{Conflicts: conflicts}.complete()}
	defer func() { err = errors.Join(err, v.release(ctx)) }()
	if err := v.join(ctx, peers); err != nil {
		return off, err
	}
	u := unblocking{verifier: v, blocked: blocked, lost: lost, off: off, node: v.named(blocked.Node), provider: v.named(blocked.Provider)}
	if u.node == nil || u.provider == nil {
		return off, nil // one of them is no survivor
	}
	tx, err := (&intake{stream: blocked.Next, to: u.node}).next(ctx)
	if err != nil || tx == nil {
		return off, err
	}
	for _, t := range tx.tables {
		if err := u.table(ctx, t, stamp{at: tx.at, author: blocked.Provider}); err != nil {
			return off, err
		}
	}
	return off, nil
}

// unblocking is one Unblock.
type unblocking struct {
	*verifier
	blocked        Blocked
	node, provider *survivor
	lost           string
	off            *Touched
}

// crossing is a table of the survivors, and what comes for it by one write.
type crossing struct {
	*compared
	in *incomingTable
	by stamp
	// at is where the blocked survivor is among those of the table, from the provider.
	at, from int
}

// table is Unblock for the rows of one table that come by one write.
func (u *unblocking) table(ctx context.Context, in *incomingTable, by stamp) error {
	t, err := u.open(ctx, in.b.rel.table, in.b.keyColumns())
	if err != nil {
		return err
	}
	// What a column list leaves out is each node's own.
	t.columns = slices.DeleteFunc(t.columns, func(name string) bool {
		return !slices.ContainsFunc(in.b.rel.columns, func(c relColumn) bool { return c.name == name })
	})
	x := &crossing{
		compared: t, in: in, by: by,
		at: slices.Index(t.names, u.blocked.Node), from: slices.Index(t.names, u.blocked.Provider),
	}
	if x.at < 0 || x.from < 0 {
		return nil
	}
	for keys := range slices.Chunk(in.creates, u.policy.Batch) {
		if err := u.clear(ctx, x, keys, u.made); err != nil {
			return err
		}
	}
	for takes := range slices.Chunk(in.takes, u.policy.Batch) {
		keys, err := t.on[x.at].holders(ctx, in, takes)
		if err != nil {
			return err
		}
		if err := u.clear(ctx, x, keys, u.taken); err != nil {
			return err
		}
	}
	return nil
}

// ruling is what becomes of a row on the blocked survivor, if anything does; had is set
// when the provider has had its version.
type ruling func(x *crossing, s *suspect, had bool) (verdict, bool)

// clear takes those of the rows off the blocked survivor, or has others written in their
// place, of which that is the ruling.
func (u *unblocking) clear(ctx context.Context, x *crossing, keys []Key, rule ruling) error {
	found, had, err := u.met(ctx, x, keys)
	if err != nil {
		return err
	}
	r := x.on[x.at]
	var refusals []error
	for _, s := range found {
		d, yes := rule(x, s, had[s.versions[x.at].stamp])
		if !yes {
			continue
		}
		var values [][]byte
		if d.winner >= 0 {
			values, err = x.on[d.winner].row(ctx, x.columns, s.key, s.versions[d.winner].xmin)
			if err != nil {
				return err
			}
			if values == nil {
				continue // it is being written: the next look has another
			}
		}
		u.off.addTo(x.in.b.note(u.off), []byte(s.key.encode()), "")
		_, err := r.write(ctx, s, s.versions[x.at], d, values)
		if _, refused := r.refusal(ctx, err); refused != nil {
			refusals = append(refusals, refused) // others may make way all the same
			continue
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(refusals...)
}

// met reads the rows that the blocked survivor has of these, and which of the writes that
// made them the provider has had. None when the survivor has applied what comes: it may
// have made them.
func (u *unblocking) met(ctx context.Context, x *crossing, keys []Key) (found []*suspect, had map[stamp]bool, err error) {
	for _, key := range keys {
		found = append(found, &suspect{table: x.compared, key: key, touch: &touch{holders: []string{u.blocked.Provider}}})
	}
	if err := u.read(ctx, x.compared, found); err != nil {
		return nil, nil, err
	}
	found = slices.DeleteFunc(found, func(s *suspect) bool { return !s.versions[x.at].present })
	if len(found) == 0 {
		return nil, nil, nil
	}
	if waits, err := u.blocked.Waits(ctx); err != nil || !waits {
		return nil, nil, err
	}
	had, err = u.had(ctx, found, x.at)
	return found, had, err
}

// made is the ruling about a row that the provider creates.
func (u *unblocking) made(x *crossing, s *suspect, had bool) (verdict, bool) {
	m := meeting{
		node: u.blocked.Node, provider: u.blocked.Provider, comes: x.by,
		has: s.versions[x.at], theirs: s.versions[x.from], had: had,
	}
	for i, name := range x.names {
		if i != x.at && i != x.from {
			m.others = append(m.others, name)
		}
		m.contested = m.contested || s.versions[i].present && s.versions[i].stamp.author == u.lost && s.versions[i].stamp.after(x.by)
	}
	as, yes := u.policy.Conflicts.remains(m, u.lost)
	return verdict{winner: -1, by: as}, yes
}

// taken is the ruling about a row that has a unique value which another one gets.
func (u *unblocking) taken(x *crossing, s *suspect, had bool) (verdict, bool) {
	if !had {
		return verdict{}, false
	}
	of := u.testimony(s, x.at)
	d, yes := u.policy.Conflicts.outlived(of, u.blocked.Node, u.blocked.Provider, u.lost)
	if yes && d.winner >= 0 {
		d.winner = slices.Index(x.names, of.names[d.winner])
	}
	return d, yes
}

// holders are the keys of the rows that have values in other unique indexes which the
// takes are to get.
func (r *replica) holders(ctx context.Context, in *incomingTable, takes []take) (out []Key, err error) {
	names := make([]string, len(r.key))
	for i, k := range r.key {
		names[i] = "t." + quoteIdent(k.name)
	}
	seen := map[string]bool{}
	for at, index := range in.uniques {
		getting := slices.DeleteFunc(slices.Clone(takes), func(t take) bool { return t.values[at] == nil })
		if len(getting) == 0 {
			continue
		}
		values := make([]Key, len(getting))
		for i, t := range getting {
			values[i] = t.values[at]
		}
		got, err := rows(ctx, r.conn, "SELECT k.i, "+strings.Join(names, ", ")+" FROM "+joinKeys(r.tab, index.columns), keyArrays(values)...)
		if err != nil {
			return nil, r.wrap(fmt.Errorf("table %s: %w", r.tab.name, err))
		}
		for _, row := range got {
			i, err := strconv.Atoi(string(row[0]))
			if err != nil {
				return nil, r.wrap(err)
			}
			key := make(Key, len(r.key))
			for c := range key {
				key[c] = string(row[c+1])
			}
			if id := key.encode(); !seen[id] && in.meets(getting[i-1], key) {
				seen[id] = true
				out = append(out, key)
			}
		}
	}
	return out, nil
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
