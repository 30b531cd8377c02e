package compare

import (
	"maps"
	"slices"

	"healer/rescue"
)

// segment is a range of keys: those behind after, up to and including upTo. A nil
// bound is open, so the segments of a walk, in order, cover every key of a node
// even where the node does not sort the bounds as they were given: of the bounds
// from "before all" to "behind all" there is one that a key is behind while it is
// not behind the next. So a difference cannot fall between two segments.
type segment struct {
	after, upTo rescue.Key
	// depth is how often a block has been cut to get it.
	depth int
}

// walk cuts a segment into parts of the given depth, as bound gives the last key
// of each part but the last: nil when fewer rows are left than a part has.
func (s segment) walk(depth int, bound func(segment) (rescue.Key, error), each func(segment) error) error {
	rest := segment{after: s.after, upTo: s.upTo, depth: depth}
	for {
		key, err := bound(rest)
		if err != nil {
			return err
		}
		// A key that comes again has a text that is not read as the key itself: to
		// go on would never end, and the rest is a part like any other.
		if key == nil || slices.Equal(key, rest.after) {
			return each(rest)
		}
		if err := each(segment{after: rest.after, upTo: key, depth: depth}); err != nil {
			return err
		}
		rest.after = key
	}
}

// verb is what is to be done with a segment.
type verb int

const (
	// leave it: it is equal everywhere.
	leave verb = iota
	// narrow it: cut it where the node with the most rows says.
	narrow
	// list its rows.
	list
)

// sizes are the numbers of rows that shape the tree of blocks.
type sizes struct {
	// block is how many rows a block has on the node that was asked for its bounds;
	// full is where counting stops on the others.
	block, full int64
	// leaf is how many rows are listed rather than cut, fanout how many parts a cut
	// makes.
	leaf, fanout int64
}

// maxDepth ends cutting when it does not help, as where a node sorts otherwise
// than the catalogs say. Listing is right for any number of rows.
const maxDepth = 6

func sizesFor(block int) sizes {
	b := int64(max(block, 2))
	return sizes{block: b, full: 4 * b, leaf: max(b/16, 1), fanout: 16}
}

// next decides about a segment by its sums; at is the node whose keys cut it, step
// how many rows each part has there.
func (z sizes) next(s segment, sums []sum) (v verb, at int, step int64) {
	at, rows := most(sums)
	switch {
	case rows > z.full:
		// Counting stopped: nothing is known yet but that it is too much.
		if s.depth >= maxDepth {
			return list, at, 0
		}
		return narrow, at, z.block
	case alike(sums):
		return leave, at, 0
	case rows <= z.leaf || s.depth >= maxDepth || (rows <= z.block && fewest(sums) == 0):
		// Where a node has nothing at all, cutting finds nothing equal.
		return list, at, 0
	default:
		return narrow, at, max((rows+z.fanout-1)/z.fanout, 1)
	}
}

// differing returns the ids, in order, that do not have the same value on all
// nodes.
func differing[V comparable](nodes []map[string]V) []string {
	ids := map[string]struct{}{}
	for i, n := range nodes {
		for id, v := range n {
			for j, o := range nodes {
				if w, ok := o[id]; j != i && (!ok || w != v) {
					ids[id] = struct{}{}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// suspects returns the buckets whose sums differ, in groups of at most limit rows,
// or of one bucket, and how many rows each group has.
func suspects(nodes []map[int]sum, limit int64) [][]int {
	all := map[int]struct{}{}
	for _, n := range nodes {
		for b := range n {
			all[b] = struct{}{}
		}
	}
	var groups [][]int
	room := int64(0)
	for _, b := range slices.Sorted(maps.Keys(all)) {
		sums := make([]sum, len(nodes))
		for i, n := range nodes {
			sums[i] = n[b]
		}
		if alike(sums) {
			continue
		}
		_, rows := most(sums)
		if len(groups) == 0 || rows > room {
			groups = append(groups, nil)
			room = limit
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], b)
		room -= rows
	}
	return groups
}

// buckets is into how many buckets so many rows are put: a power of two.
func buckets(rows int64) int {
	n := 16
	for n < 1<<14 && int64(n)*256 < rows {
		n *= 2
	}
	return n
}
