package rescue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// The conflicts that a change of the gap meets on T. What becomes of them is up to
// the Resolution.
const (
	// InsertExists: F inserted a row that another node has written on T.
	InsertExists topology.ConflictKind = "insert_exists"
	// UpdateMissing: F updated a row that T has not. Only the rows of the other
	// survivors can tell what it should be: it is left to Verify.
	UpdateMissing topology.ConflictKind = "update_missing"
	// UpdateNewer: F updated a row that another node wrote later.
	UpdateNewer topology.ConflictKind = "update_newer"
	// DeleteMissing: F deleted a row that T has not.
	DeleteMissing topology.ConflictKind = "delete_missing"
	// DeleteNewer: F deleted a row that another node wrote later.
	DeleteNewer topology.ConflictKind = "delete_newer"
	// InsertUnique and UpdateUnique: F's row has a unique value that another row of T
	// has.
	InsertUnique topology.ConflictKind = "insert_unique"
	UpdateUnique topology.ConflictKind = "update_unique"
	// ConstraintViolated: a constraint of T is against F's row, and nothing that
	// Healer may do resolves it.
	ConstraintViolated topology.ConflictKind = "constraint_violated"
)

// newer and missing are the kinds of conflict of a change that meets a later row,
// or none.
func newer(kind msgKind) topology.ConflictKind {
	return map[msgKind]topology.ConflictKind{msgInsert: InsertExists, msgUpdate: UpdateNewer, msgDelete: DeleteNewer}[kind]
}

func missing(kind msgKind) topology.ConflictKind {
	return map[msgKind]topology.ConflictKind{msgInsert: InsertExists, msgUpdate: UpdateMissing, msgDelete: DeleteMissing}[kind]
}

// tally counts a row change, and the conflict that its answer tells of: replaced
// is the stamp of the row it was put over. Whoever sends many changes as one
// statement owes for each row the same: the stamp of the foreign row that it
// replaced, and for every change that wrote nothing an op in missed.
func (a *applier) tally(o op, written int64, replaced []byte) {
	t := a.report.table(o.b.tab.name.String())
	if o.kind == msgTruncate {
		if o.step.counts() {
			t.Truncates++
		}
		return
	}
	a.report.Rows++
	switch o.kind {
	case msgInsert:
		t.Inserts++
	case msgUpdate:
		t.Updates++
	case msgDelete:
		t.Deletes++
	}
	if written == 0 {
		a.missed = append(a.missed, o)
		return
	}
	if replaced == nil {
		return
	}
	was := parseStamp(string(replaced), a.s.authors)
	if was.at == unknownTime || was.author == a.s.target.Origin {
		return // no conflict: an old row, one of this transaction, or F's own
	}
	a.met.Add(a.conflict(o, newer(o.kind), &was, topology.ActionApplied))
}

func (a *applier) conflict(o op, kind topology.ConflictKind, was *stamp, action string) topology.RowConflict {
	c := topology.RowConflict{
		Kind: kind, Table: o.b.tab.name.String(), Key: namedKey(o.b.key, o.key, o.b.whole), Node: a.s.target.Node,
		Remote: topology.RowWrite{Node: a.s.target.Origin, At: timeOf(o.at)}, LSN: o.lsn, Action: action,
	}
	if was != nil {
		c.Local = &topology.RowWrite{Node: was.author, At: timeOf(was.at)}
	}
	return c
}

// keepMet puts the conflicts of a committed transaction into the report.
func (a *applier) keepMet() {
	for _, c := range a.met.Counts {
		a.report.table(c.Table).conflict(c.Kind, c.Count)
	}
	a.report.Conflicts.Merge(a.met)
	a.met = topology.ConflictLog{}
}

// classify tells, of the changes that wrote nothing, those whose row is missing
// from those whose row is another node's, by T's state at the end of the batch.
func (a *applier) classify(ctx context.Context) error {
	byTable := map[*binding][]op{}
	for _, o := range a.missed {
		byTable[o.b] = append(byTable[o.b], o)
	}
	found := map[*binding][]*stamp{}
	for b, ops := range byTable {
		stamps, err := a.stamps(ctx, b, ops)
		if err != nil {
			return err
		}
		found[b] = stamps
	}
	for _, o := range a.missed {
		was := found[o.b][0]
		found[o.b] = found[o.b][1:]
		c := a.conflict(o, newer(o.kind), was, topology.ActionKept)
		if was == nil {
			c.Kind = missing(o.kind)
			if o.kind != msgInsert { // or it was deleted since
				c.Action = topology.ActionSkipped
			}
		}
		if a.open && o.lsn == a.lsn {
			a.met.Add(c)
			continue
		}
		a.report.table(c.Table).conflict(c.Kind, 1)
		a.report.Conflicts.Add(c)
	}
	a.missed = a.missed[:0]
	return nil
}

// stamps reads who wrote the rows of the changes; nil where there is no row.
func (a *applier) stamps(ctx context.Context, b *binding, ops []op) ([]*stamp, error) {
	out := make([]*stamp, len(ops))
	if b.whole {
		return out, nil // what is equal to the old row would have been taken
	}
	keys := make([]Key, len(ops))
	for i, o := range ops {
		keys[i] = o.key
	}
	got, err := rows(ctx, a.s.conn, "SELECT k.i, "+stampOf("t")+" FROM "+joinKeys(b.tab, b.key), keyArrays(keys)...)
	if err != nil {
		return nil, a.s.wrap(err)
	}
	for _, r := range got {
		i, err := strconv.Atoi(string(r[0]))
		if err != nil {
			return nil, a.s.wrap(err)
		}
		was := parseStamp(string(r[1]), a.s.authors)
		out[i-1] = &was
	}
	return out, nil
}

// stopped reads the error by which a statement under Stop tells of a conflict;
// was is nil when there was no row.
func stopped(o op, err *pgconn.PgError) (kind topology.ConflictKind, was string, ok bool) {
	_, was, ok = strings.Cut(err.Message, `"`+stopMark)
	was, _, end := strings.Cut(was, `"`)
	switch {
	case !ok || !end:
		return "", "", false
	case strings.HasPrefix(was, absentMark):
		return missing(o.kind), "", true
	default:
		return newer(o.kind), was, true
	}
}

// stop reports the conflict before which the replay stops.
func (a *applier) stop(o op, kind topology.ConflictKind, was string) error {
	var local *stamp
	who := "is not there"
	if was != "" {
		s := parseStamp(was, a.s.authors)
		local = &s
		who = "was written by " + written(s)
	}
	a.report.Conflicts.Add(a.conflict(o, kind, local, topology.ActionStopped))
	return a.fault("conflict_stopped",
		"settle the row by hand or choose another recovery.conflicts, then run the recovery again", o.b, o.lsn,
		fmt.Errorf("%s: row (%s), written by %s, %s", kind, o.b.rowName(o.key),
			written(stamp{at: o.at, author: a.s.target.Origin}), who))
}

// written names a stamp for an operator.
func written(s stamp) string {
	who := s.author
	if who == "" {
		who = "an unknown node"
	}
	if s.at == unknownTime {
		return who + " at an unknown time"
	}
	return who + " at " + timestamp(s.at)
}

// rowName names a row by its key.
func (b *binding) rowName(key Key) string {
	parts := make([]string, len(key))
	for i, v := range key {
		parts[i] = b.key[i].name + "=" + v
	}
	return strings.Join(parts, ", ")
}

// keyText is how much of a key a report shows, in bytes: a thousand conflicts are to
// fit into a line of the journal, and some of them into an event.
const keyText = 256

// namedKey names a key's values by their columns. Of a whole row the NULLs are left
// out.
func namedKey(columns []keyColumn, key Key, whole bool) map[string]string {
	out := make(map[string]string, len(key))
	left := keyText
	for i, v := range key {
		if whole && v == wholeNull {
			continue
		}
		if whole {
			v = strings.TrimPrefix(v, wholeValue)
		}
		if left -= len(columns[i].name); left <= 0 {
			break
		}
		if len(v) > left {
			v = strings.ToValidUTF8(v[:left], "") + "..."
		}
		left -= len(v)
		out[columns[i].name] = v
	}
	return out
}

// timeOf is a stamp's time, zero when it is unknown.
func timeOf(micros int64) time.Time {
	if micros == unknownTime {
		return time.Time{}
	}
	return time.UnixMicro(pgEpoch().UnixMicro() + micros).UTC()
}
