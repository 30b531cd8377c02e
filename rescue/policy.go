package rescue

import (
	"strconv"
	"strings"
)

// Resolution is what becomes of two writes of one row that did not know of each
// other. A change of F conflicts on T
//
//   - as an INSERT with a row that another node wrote last: F had no such row;
//   - as an UPDATE or DELETE with a row that another node wrote later (on equal
//     commit timestamps, a node with a greater name): F cannot have seen it. A row
//     that another node wrote earlier is no conflict, F wrote over it;
//   - as an UPDATE with a row that is not there.
//
// The DELETE of a row that is not there is counted as well, but both sides mean
// the same. decide has the same policies for what differs when all is applied.
type Resolution string

// The resolutions.
const (
	// LastUpdateWins keeps the write with the later commit timestamp, and on a
	// tie that of the node with the greater name. It is the default: "" means it.
	LastUpdateWins Resolution = "last_update_wins"
	// ApplyRemote prefers the lost node's writes, except to those that a survivor
	// made when it had them.
	ApplyRemote Resolution = "apply_remote"
	// KeepLocal prefers the survivors' writes to the lost node's.
	KeepLocal Resolution = "keep_local"
	// FirstUpdateWins keeps the write with the earlier commit timestamp, except that what a
	// survivor wrote over it when it had it stays.
	FirstUpdateWins Resolution = "first_update_wins"
	// Stop resolves nothing: a conflict is a permanent Fault "conflict_stopped",
	// before the transaction that has it is committed, and what differs in the end
	// is one as well.
	Stop Resolution = "stop"
)

func (r Resolution) orDefault() Resolution {
	if r == "" {
		return LastUpdateWins
	}
	return r
}

// stopMark begins what a statement under Stop says with the error it makes; the
// stamp of the row in the way follows, or absentMark.
const (
	stopMark   = "healer_conflict "
	absentMark = "absent"
)

// stampOf renders, as one text, the origin and the commit timestamp of a row:
// "<roident> <microseconds since 2000>", or an empty text when they are unknown.
func stampOf(row string) string {
	return `(SELECT pg_catalog.concat_ws(' ', w.roident, (extract(epoch FROM w.timestamp) * 1000000 - 946684800000000)::bigint)` +
		` FROM pg_catalog.pg_xact_commit_timestamp_origin(` + row + `.xmin) AS w)`
}

// parseStamp reads stampOf with the authors of the server it comes from.
func parseStamp(text string, authors map[uint32]string) stamp {
	id, micros, ok := strings.Cut(text, " ")
	if !ok {
		return stamp{at: unknownTime}
	}
	origin, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return stamp{at: unknownTime}
	}
	at, err := strconv.ParseInt(micros, 10, 64)
	if err != nil {
		return stamp{at: unknownTime}
	}
	return stamp{at: at, author: authors[uint32(origin)]}
}

// rule is the condition under which F's change replaces the row t.
//
// It is for changes that go row by row. A program writes only what is no conflict
// under any policy, and leaves the rest to here; see program.go.
type rule struct {
	resolution Resolution
	// mine are the origins of F's own writes on T, greater those of nodes that
	// win against F at equal timestamps.
	mine, greater []uint32
}

// over is the condition, with F's commit timestamp as parameter n, for a change
// of the kind to be written over the row t; empty when there is none.
func (r rule) over(kind msgKind, n int) string {
	switch r.resolution.orDefault() {
	case ApplyRemote:
		return ""
	case FirstUpdateWins:
		// A later row was written without F's change, and an earlier one F has seen.
		if kind == msgInsert {
			return r.earlier(n)
		}
		return ""
	case KeepLocal:
		if kind == msgInsert {
			return r.own()
		}
		return r.later(n)
	case Stop:
		if kind == msgInsert {
			return orStop(r.own())
		}
		return orStop(r.later(n))
	default:
		return r.later(n)
	}
}

// emptied is the condition for a TRUNCATE to take the row t: no policy lets it take
// a later one unseen.
func (r rule) emptied(n int) string {
	if r.resolution == Stop {
		return orStop(r.later(n))
	}
	return r.later(n)
}

// orStop fails the statement, by a cast that cannot succeed, where the condition
// does not hold.
func orStop(condition string) string {
	return "CASE WHEN " + condition + " THEN true ELSE (" + quoteLiteral(stopMark) + " || " + stampOf("t") + ")::boolean END"
}

// own is the condition for the row t to be F's, or of unknown origin.
func (r rule) own() string {
	const writer = `(pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident`
	if len(r.mine) == 0 {
		return writer + " IS NULL"
	}
	return "coalesce(" + writer + " IN (" + oidList(r.mine) + "), true)"
}

// earlier is the condition for F's change to be earlier than the row t, or t to be F's or
// of unknown time.
func (r rule) earlier(n int) string {
	const at = `pg_catalog.pg_xact_commit_timestamp(t.xmin)`
	ts := "$" + strconv.Itoa(n) + "::timestamptz"
	return "coalesce(" + r.own() + " OR " + at + " > " + ts + " OR (" + at + " = " + ts +
		" AND (pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident NOT IN (" + oidList(r.greater) + ")), true)"
}

// later is the condition for F's change to be later than the row t: by commit
// timestamp, then by node name. A row without a known commit timestamp was written
// by this very transaction or long ago: it yields, hence the coalesce. The
// function is called once for a row of F's own, which is the ordinary case.
func (r rule) later(n int) string {
	const (
		writer = `(pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident`
		at     = `pg_catalog.pg_xact_commit_timestamp(t.xmin)`
	)
	ts := "$" + strconv.Itoa(n) + "::timestamptz"
	var b strings.Builder
	b.WriteString("coalesce(")
	if len(r.mine) > 0 {
		b.WriteString(writer + " IN (" + oidList(r.mine) + ") OR ")
	}
	if len(r.greater) == 0 {
		b.WriteString(at + " <= " + ts)
	} else {
		b.WriteString(at + " < " + ts + " OR (" + at + " = " + ts +
			" AND " + writer + " NOT IN (" + oidList(r.greater) + "))")
	}
	b.WriteString(", true)")
	return b.String()
}
