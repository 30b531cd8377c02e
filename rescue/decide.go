package rescue

import (
	"math"
	"slices"
)

// version is a row as one survivor has it.
type version struct {
	present bool
	// digest tells contents apart; xmin tells versions of one server apart.
	digest, xmin string
	stamp        stamp
}

// unknownTime stands for a commit timestamp the server no longer has: older than
// every known one.
const unknownTime = math.MinInt64

// equal reports whether all survivors have the same row, or all none.
func equal(versions []version) bool {
	for _, v := range versions[1:] {
		if v.present != versions[0].present || v.digest != versions[0].digest {
			return false
		}
	}
	return true
}

// verdict says how a row becomes equal.
type verdict struct {
	// winner is the index of the version to write, -1 when the row is to go.
	winner int
	// by is the write that won: its author and time.
	by stamp
	// losers are the indexes of the versions to replace, add or delete.
	losers []int
}

// decide lets the last write win. names are the survivors', seen the latest
// version each was ever seen to have (nil stamps have no author).
//
// A survivor without the row either has deleted it or never had it. It has
// deleted it when
//   - the source's WAL has shown a deletion that is later than the row;
//   - it was seen with this version of the row, or a later one;
//   - the version left is the lost node's, written in the gap, and the survivor
//     must have had it: the gap inserted the row, or the survivor is a source in
//     whose WAL the change was. A deletion that the laggard received while it had
//     no row yet leaves no other trace.
//
// In doubt the row stays: no data is lost.
func decide(versions []version, names []string, seen []stamp, e *touch, lost map[string]span) verdict {
	winner := -1
	for i, v := range versions {
		if v.present && (winner < 0 || v.stamp.after(versions[winner].stamp)) {
			winner = i
		}
	}
	best := versions[winner]
	for i, v := range versions {
		if v.present {
			continue
		}
		if by, ok := deletedBy(names[i], seen[i], best.stamp, e, lost); ok {
			return verdict{winner: -1, by: by, losers: where(versions, func(v version) bool { return v.present })}
		}
	}
	return verdict{winner: winner, by: best.stamp, losers: where(versions, func(v version) bool {
		return !v.present || v.digest != best.digest
	})}
}

// deletedBy reports whether a survivor that lacks the row has deleted it.
func deletedBy(name string, seen, row stamp, e *touch, lost map[string]span) (stamp, bool) {
	if e.tomb != nil {
		return *e.tomb, e.tomb.after(row)
	}
	by := stamp{at: row.at, author: name}
	if seen != (stamp{}) && !row.after(seen) {
		return by, true
	}
	gap, ok := lost[row.author]
	inGap := ok && row.at >= gap.first && row.at <= gap.last
	return by, inGap && (e.inserted || slices.Contains(e.holders, name))
}

func where(versions []version, is func(version) bool) []int {
	var at []int
	for i, v := range versions {
		if is(v) {
			at = append(at, i)
		}
	}
	return at
}
