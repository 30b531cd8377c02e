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

// known reports whether there is a row, and who has written it when.
func (v version) known() bool {
	return v.present && v.stamp.at != unknownTime && v.stamp.author != ""
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

// situation is what a decision about one row rests on.
type situation struct {
	// versions are the row's on the survivors with these names, seen the latest
	// each was ever seen to have (no author: none).
	versions []version
	names    []string
	seen     []stamp
	touch    *touch
	// lost are the lost nodes with the commit timestamps of their gaps.
	lost map[string]span
	// sources are the survivors that had the gap before anybody else.
	sources []string
}

// beaten is the rank of a write that has lost to another row with its unique value.
const beaten = -1

// claim is what a write has to say for itself: claims are compared by rank, and in
// the same rank by time and author: the later wins, unless first is set.
type claim struct {
	rank int
	stamp
	first bool
}

func (c claim) beats(o claim) bool {
	if c.rank != o.rank {
		return c.rank > o.rank
	}
	if c.first && c.at != o.at {
		return o.after(c.stamp)
	}
	return c.after(o.stamp)
}

// claimOf is what a write of that rank claims.
func (r Resolution) claimOf(rank int, s stamp) claim {
	return claim{rank: rank, stamp: s, first: r == FirstUpdateWins}
}

// decide says how a row that differs becomes equal. It depends on nothing but the
// situation, and not on the order of the survivors in it: whichever node decides,
// the outcome is the same.
//
// The versions claim the row. A survivor without it either has deleted it or never
// had it. It has deleted it when
//   - the source's WAL has shown a deletion that beats the best version;
//   - it was seen with this version of the row, or a later one;
//   - the version left is the lost node's, written in the gap, and the survivor
//     must have had it: the gap inserted the row, or the survivor is a source in
//     whose WAL the change was. A deletion that the laggard received while it had
//     no row yet leaves no other trace.
//
// A write that has lost to another row with its unique value stands behind all
// others, and goes where there is no other.
//
// In doubt the row stays: no data is lost.
func (r Resolution) decide(s situation) verdict {
	winner := -1
	for i, v := range s.versions {
		if v.present && (winner < 0 || r.beats(s, i, winner)) {
			winner = i
		}
	}
	best := s.versions[winner]
	if by, ok := r.deletedBy(s, r.claim(s, winner)); ok {
		return verdict{winner: -1, by: by, losers: where(s.versions, func(v version) bool { return v.present })}
	}
	return verdict{winner: winner, by: best.stamp, losers: where(s.versions, func(v version) bool {
		return !v.present || v.digest != best.digest
	})}
}

// beats orders two versions that are there. Versions of one and the same write are
// told apart by what the survivors have received, and only then by their contents.
func (r Resolution) beats(s situation, i, j int) bool {
	a, b := r.claim(s, i), r.claim(s, j)
	switch x, y := s.received(i), s.received(j); {
	case a != b:
		return a.beats(b)
	case x != y:
		return x > y
	default:
		return s.versions[i].digest > s.versions[j].digest
	}
}

// received ranks a survivor by how much of what made its version it has had.
//
// An UPDATE is sent without the values in TOAST that it left alone
// (src/backend/replication/pgoutput/pgoutput.c, LOGICALREP_COLUMN_UNCHANGED), and whoever
// applies it keeps its own. On a laggard, which lacks the gap and has skipped what
// others did to rows of it, these may be old: then one write, with one author and one
// time, has different rows. The source has had the gap and all that followed, as
// the lost node has; so have the others, but the laggards. The author of the write comes
// next: what it has is what it wrote, but it may have written it as a laggard.
func (s situation) received(i int) (rank int) {
	if slices.Contains(s.sources, s.names[i]) {
		rank = 2
	}
	if s.names[i] == s.versions[i].stamp.author {
		rank++
	}
	return rank
}

// claim is that of the version a survivor has. All versions of one write claim the same.
func (r Resolution) claim(s situation, i int) claim {
	v := s.versions[i].stamp
	if s.touch.beaten(v) {
		return r.claimOf(beaten, v)
	}
	home := slices.Index(s.names, v.author)
	return r.claimOf(r.rank(s, v, home >= 0 && s.versions[home].present && s.versions[home].stamp == v), v)
}

// rank places a write by its author: home is set when it was found on its author's
// own node.
//
// Under ApplyRemote, as under FirstUpdateWins, every survivor has written F's changes over whatever it had.
// So a row that a survivor has of its own was written when it had F's: it follows
// F's change and is no conflict. Of what others have written that cannot be told.
func (r Resolution) rank(s situation, by stamp, home bool) int {
	gap, lost := s.lost[by.author]
	remote := lost && by.at >= gap.first && by.at <= gap.last
	switch r.orDefault() {
	case ApplyRemote:
		switch {
		case remote:
			return 1
		case home:
			return 2
		}
	case FirstUpdateWins:
		switch {
		case home && !remote:
			return 2 // it was written when the first was there
		case by.at != unknownTime:
			return 1
		}
	case KeepLocal:
		if !remote && by.at != unknownTime {
			return 1
		}
	}
	return 0
}

// deletedBy reports whether a survivor that lacks the row has deleted it, or whom
// the source's WAL has shown to have done so.
func (r Resolution) deletedBy(s situation, best claim) (stamp, bool) {
	if best.rank == beaten {
		return s.touch.lost.to, true
	}
	if !slices.ContainsFunc(s.versions, func(v version) bool { return !v.present }) {
		return stamp{}, false
	}
	tomb := s.touch.tomb
	if tomb != nil {
		home := slices.Contains(s.touch.holders, tomb.author)
		if r.claimOf(r.rank(s, *tomb, home), *tomb).beats(best) {
			return *tomb, true
		}
	}
	gap, ok := s.lost[best.author]
	// What had to yield was never there. An earlier deletion is one by which a survivor
	// may lack the row, and not have deleted this version; but not if it was seen with it.
	inGap := ok && tomb == nil && s.touch.lost == nil && best.at >= gap.first && best.at <= gap.last
	by, found := stamp{at: best.at}, false
	for i, name := range s.names {
		if s.versions[i].present {
			continue
		}
		had := s.seen[i] != (stamp{}) && !best.after(s.seen[i])
		if (had || inGap && (s.touch.inserted || slices.Contains(s.touch.holders, name))) && name > by.author {
			by.author, found = name, true
		}
	}
	return by, found
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
