package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/topology"
)

// RowSet names rows of one table, for CompareRows.
type RowSet struct {
	Table topology.TableName
	// KeyColumns are the columns of each of Keys. Every peer must have a unique
	// index on them that can identify a row.
	KeyColumns []string
	Keys       []Key
	// Columns are those to compare; nil means all that every peer stores.
	Columns []string
	// Deleted tells what it means that a peer lacks a row. Where nothing tells, the
	// row stays.
	Deleted []Deletion
}

// Deletion is what is known of rows that Holder lacks and others have: what was
// written before At was deleted there by Author. It is for a comparison in place of
// a lost log: Holder has had transactions of Author, none earlier than At, which the
// others have not. With Of it is of rows alone that this node has written last, and with
// All of those alone that all of these lack.
type Deletion struct {
	Holder, Author string
	Of             string
	All            []string
	At             time.Time
}

// Unstamped is the fault of a holder that does not know the commit timestamps of what it
// has of a lost node since then: the last update cannot win where nobody knows which it is.
func Unstamped(holder, lost string, since time.Time, remedy string) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "timestamps_gone", Node: holder, Hint: remedy,
		Err: fmt.Errorf("%s has no commit timestamps from %s on, when the gap of %s begins: they are kept since track_commit_timestamp was last turned on, "+
			"and not of rows that were frozen. Its rows would lose to older ones of others", holder, since.Format(time.RFC3339), lost),
	}
}

// RowState says what became of a row that was not the same everywhere.
type RowState string

// The states of a divergent row.
const (
	// RowDiffers: it differs in the same versions before and behind a barrier.
	RowDiffers RowState = "differs"
	// RowRepaired: it differed, and is equal now.
	RowRepaired RowState = "repaired"
	// RowUnsettled: it was written faster than it could be compared, so nothing
	// is known of it.
	RowUnsettled RowState = "unsettled"
)

// Divergence is a row that is not the same on all peers, and what last update
// wins makes of it.
type Divergence struct {
	Key   Key
	State RowState
	// Versions has the row as each peer has it, sorted by node: as it was when it
	// was found to differ.
	Versions []RowVersion
	// Winner is the node whose version stands, empty when the row is to go;
	// Losers are the nodes that are, or would be, written.
	Winner string
	Losers []string
	// Author and At are those of the write that wins; the author is empty and
	// the time zero when the server no longer knows them.
	Author string
	At     time.Time
	// Problem is why a repair was refused; nil when none was.
	Problem error
}

// RowVersion is a row as one peer has it.
type RowVersion struct {
	Node    string
	Present bool
	// Digest tells contents apart; it is empty when the row is not there.
	Digest string
	// Author wrote it, At is its commit timestamp; empty and zero when the
	// server no longer knows them.
	Author string
	At     time.Time
}

// CompareRows compares the rows on all peers as Verify does, and repairs them by
// the same decision and under the same origins unless policy.ReportOnly is set.
// It returns the rows that were not equal, in the order of the set; that some
// differ or do not settle is no error.
func CompareRows(ctx context.Context, peers []Peer, set RowSet, barrier Barrier, policy Policy) (out []Divergence, err error) {
	v := &verifier{touched: newTouched(), barrier: barrier, policy: policy.complete(), deletions: set.Deleted}
	defer func() { err = errors.Join(err, v.release(ctx)) }()
	if err := v.join(ctx, peers); err != nil {
		return nil, err
	}
	t, err := v.open(ctx, set.Table, set.KeyColumns)
	if err != nil {
		return nil, err
	}
	if set.Columns != nil {
		t.columns = slices.DeleteFunc(t.columns, func(c string) bool { return !slices.Contains(set.Columns, c) })
	}
	if policy.Source != "" && !slices.Contains(t.names, policy.Source) {
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: "source_unknown", Node: policy.Source,
			Err: fmt.Errorf("table %s is compared on %s", set.Table, strings.Join(t.names, ", ")), Hint: "name one of these",
		}
	}
	v.tables = []*compared{t}
	suspects, err := v.differing(ctx, t, set.Keys)
	if err != nil {
		return nil, err
	}
	// judgeAll reuses nothing of the slice, so it still has all of them.
	left, err := v.judgeAll(ctx, suspects)
	if err != nil {
		return nil, err
	}
	for _, s := range suspects {
		if slices.Contains(left, s) || s.divergent {
			out = append(out, v.divergence(s, slices.Contains(left, s)))
		}
	}
	return out, nil
}

// differing reads rows and returns those that are not equal.
func (v *verifier) differing(ctx context.Context, t *compared, keys []Key) ([]*suspect, error) {
	var found []*suspect
	for chunk := range slices.Chunk(keys, v.policy.Batch) {
		batch := make([]*suspect, len(chunk))
		for i, k := range chunk {
			if len(k) != len(t.on[0].key) {
				return nil, fmt.Errorf("table %s: a key of %d values for %d columns", t.name, len(k), len(t.on[0].key))
			}
			batch[i] = &suspect{table: t, key: k, touch: &touch{}}
		}
		if err := v.read(ctx, t, batch); err != nil {
			return nil, err
		}
		for _, s := range batch {
			if !equal(s.versions) {
				found = append(found, s)
			}
		}
	}
	return found, nil
}

// divergence renders a suspect that has been judged.
func (v *verifier) divergence(s *suspect, unsettled bool) Divergence {
	d := Divergence{Key: s.key, State: RowDiffers, Problem: s.problem}
	found := s.found
	switch {
	case unsettled:
		d.State, found = RowUnsettled, s.versions
	case equal(s.versions):
		d.State = RowRepaired
	}
	names := s.table.names
	for i, ver := range found {
		r := RowVersion{Node: names[i], Present: ver.present, Digest: ver.digest}
		if ver.present {
			r.Author, r.At = ver.stamp.author, ver.stamp.time()
		}
		d.Versions = append(d.Versions, r)
	}
	if unsettled {
		return d
	}
	verdict := s.ruling
	if verdict == nil {
		d := v.decide(s, found)
		verdict = &d
	}
	if verdict.winner >= 0 {
		d.Winner = names[verdict.winner]
	}
	for _, i := range verdict.losers {
		d.Losers = append(d.Losers, names[i])
	}
	d.Author, d.At = verdict.by.author, verdict.by.time()
	return d
}

// time is the commit timestamp, zero when it is not known.
func (s stamp) time() time.Time {
	if s.at == unknownTime {
		return time.Time{}
	}
	return time.UnixMicro(pgEpoch().UnixMicro() + s.at).UTC()
}

// ID makes a key comparable: different keys have different ids.
func (k Key) ID() string { return k.encode() }
