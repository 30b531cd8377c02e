package topology

import (
	"cmp"
	"slices"
	"time"
)

// ConflictKind says how two writes of a row met.
type ConflictKind string

// Conflict actions: what became of the write that came in.
const (
	// ActionApplied: it took the place of what was there.
	ActionApplied = "applied"
	// ActionKept: what was there stayed.
	ActionKept = "kept"
	// ActionSkipped: there was no row to write, and none was made.
	ActionSkipped = "skipped"
	// ActionAdded: it brought back a row that was not there.
	ActionAdded = "added"
	// ActionDeleted: it removed the row that was there.
	ActionDeleted = "deleted"
	// ActionStopped: the recovery stopped before it.
	ActionStopped = "stopped"
)

// RowWrite is who wrote a version of a row, and when.
type RowWrite struct {
	// Node is the author; empty when it is not known, or none of the mesh.
	Node string `json:"node,omitempty"`
	// At is the commit timestamp as PostgreSQL keeps it, to the microsecond;
	// zero when the server no longer has it.
	At time.Time `json:"at,omitzero"`
}

// RowConflict is a write that came to a node and met another there.
type RowConflict struct {
	Kind  ConflictKind `json:"kind"`
	Table string       `json:"table"`
	// Key has the row's key columns; OtherKey those of another row that was in
	// the way, as with a unique value.
	Key      map[string]string `json:"key"`
	OtherKey map[string]string `json:"other_key,omitempty"`
	// Node is where they met.
	Node string `json:"node"`
	// Remote is the write that came: the lost node's, or in a comparison the
	// one that won. Local is the write that was there; nil when no row was.
	Remote RowWrite  `json:"remote"`
	Local  *RowWrite `json:"local,omitempty"`
	// LSN is the lost node's transaction; zero in a comparison.
	LSN LSN `json:"lsn,omitempty"`
	// Constraint is the constraint in the way, if it was one.
	Constraint string `json:"constraint,omitempty"`
	// Action is what was done.
	Action string `json:"action"`
}

// ConflictCount counts the conflicts of one kind in one table that ended alike.
type ConflictCount struct {
	Table  string       `json:"table"`
	Kind   ConflictKind `json:"kind"`
	Action string       `json:"action"`
	Count  int64        `json:"count"`
}

// ListedConflicts is how many conflicts a log lists; it counts all.
const ListedConflicts = 1000

// ConflictLog counts conflicts and lists the first of them. The zero value is
// empty and ready.
type ConflictLog struct {
	// Counts are sorted by table, kind and action.
	Counts []ConflictCount `json:"counts"`
	// Rows are the first ListedConflicts in the order in which they were met.
	Rows []RowConflict `json:"rows"`
}

// Add counts a conflict and lists it if there is room.
func (l *ConflictLog) Add(c RowConflict) {
	l.count(ConflictCount{Table: c.Table, Kind: c.Kind, Action: c.Action, Count: 1})
	if len(l.Rows) < ListedConflicts {
		l.Rows = append(l.Rows, c)
	}
}

// Merge adds what another log has, behind what is there.
func (l *ConflictLog) Merge(o ConflictLog) {
	for _, c := range o.Counts {
		l.count(c)
	}
	l.Rows = append(l.Rows, o.Rows[:min(len(o.Rows), ListedConflicts-len(l.Rows))]...)
}

// Total is how many conflicts were met.
func (l *ConflictLog) Total() (n int64) {
	for _, c := range l.Counts {
		n += c.Count
	}
	return n
}

// First returns the log with at most n conflicts listed.
func (l *ConflictLog) First(n int) ConflictLog {
	return ConflictLog{Counts: slices.Clone(l.Counts), Rows: slices.Clone(l.Rows[:min(n, len(l.Rows))])}
}

func (l *ConflictLog) count(c ConflictCount) {
	i, ok := slices.BinarySearchFunc(l.Counts, c, func(a, b ConflictCount) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Action, b.Action))
	})
	if ok {
		l.Counts[i].Count += c.Count
		return
	}
	l.Counts = slices.Insert(l.Counts, i, c)
}
