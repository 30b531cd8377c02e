package keeper

import (
	"fmt"
	"maps"
	"slices"

	"healer/topology"
)

// Sample is one reading of the node that keeps the slots.
type Sample struct {
	// Identity tells one life of the server from another: positions read in
	// one are not combined with those of another.
	Identity topology.Identity
	// Flushed is the node's flushed LSN. It is read before Progress.
	Flushed topology.LSN
	// Progress has, for each node this one subscribes to, the last commit LSN
	// of it that was applied here, flushed or not. A disabled subscription
	// counts: what it brought while it was enabled is in the log.
	Progress map[string]topology.LSN
	// Unknown lists the subscriptions whose provider is not known. While there
	// are any, Progress does not speak of every foreign transaction.
	Unknown []string
}

// Point is a position in the node's log of which something is known: each
// foreign transaction whose commit record lies before At came from a node in
// Progress, and its origin LSN is at most that node's entry.
type Point struct {
	At       topology.LSN
	Progress map[string]topology.LSN
}

// History holds the points of one node, newest last, in bounded space: when it
// is full, the older half keeps every second point. It is not safe for
// concurrent use.
//
// Invariants: At grows strictly and no origin's Progress ever shrinks from one
// point to the next. So what covers a point covers all points before it.
type History struct {
	limit  int
	prev   *Sample
	floor  map[string]topology.LSN
	points []Point
}

// NewHistory returns an empty history of at most limit points, at least 4.
func NewHistory(limit int) *History {
	return &History{limit: max(limit, 4), floor: map[string]topology.LSN{}}
}

// Observe takes the next sample. From the second on, each makes a point: the
// flushed LSN of the sample before it, with the progress of this one.
//
// The pair is taken from two samples because a commit record reaches the log
// before the progress reaches memory. A record flushed at the previous sample
// has had a whole interval for that, hence samples must lie an interval apart.
func (h *History) Observe(now Sample) {
	prev := h.prev
	if prev != nil && (prev.Identity != now.Identity || now.Flushed < prev.Flushed) {
		h.restart(prev.Identity.SystemID != now.Identity.SystemID)
		prev = nil
	}
	h.prev = &now
	h.raise(now.Progress)
	if prev == nil || len(now.Unknown) > 0 {
		return
	}
	if n := len(h.points); n > 0 && h.points[n-1].At >= prev.Flushed {
		return
	}
	h.points = append(h.points, Point{At: prev.Flushed, Progress: maps.Clone(h.floor)})
	h.thin()
}

// Interrupt forgets the last sample, because reading the node failed: the next
// sample starts a new pair. Points stay true.
func (h *History) Interrupt() { h.prev = nil }

// current reports whether the last reading of the node succeeded.
func (h *History) current() bool { return h.prev != nil }

// restart forgets what was measured in another life of the server. What a peer
// must have at least is forgotten only when it is another server altogether.
func (h *History) restart(otherServer bool) {
	h.prev, h.points = nil, nil
	if otherServer {
		h.floor = map[string]topology.LSN{}
	}
}

// raise keeps the highest progress seen of each origin. A progress that shrinks
// or vanishes (the subscription was dropped or made anew, the server crashed)
// does not take its transactions out of the log, so the demand on the peers
// stays as it was.
func (h *History) raise(progress map[string]topology.LSN) {
	for origin, lsn := range progress {
		h.floor[origin] = max(h.floor[origin], lsn)
	}
}

func (h *History) thin() {
	if len(h.points) <= h.limit {
		return
	}
	half := len(h.points) / 2
	kept := make([]Point, 0, len(h.points))
	for i, p := range h.points {
		if i >= half || i%2 == 0 {
			kept = append(kept, p)
		}
	}
	h.points = kept
}

// Newest returns the newest position known to lie before every transaction of
// origin that a node with the given progress of it lacks, and false when no
// such position is known. A clone may skip everything before it.
func (h *History) Newest(origin string, progress topology.LSN) (topology.LSN, bool) {
	for _, p := range slices.Backward(h.points) {
		if r, ok := p.Progress[origin]; ok && r <= progress {
			return p.At, true
		}
	}
	return 0, false
}

// Covered returns the newest point before which the peer lacks nothing, and
// false when there is none. lacks says what it lacks of the newest point of
// all; it is empty when that one is covered.
func (h *History) Covered(peer PeerView) (p Point, ok bool, lacks string) {
	for _, p := range slices.Backward(h.points) {
		missing := lacking(p, peer)
		if missing == "" {
			return p, true, lacks
		}
		if lacks == "" {
			lacks = missing
		}
	}
	return Point{}, false, lacks
}

// lacking names the first origin, by name, of which the peer may lack a
// transaction that lies before the point. The peer's own transactions are not
// foreign to it.
func lacking(p Point, peer PeerView) string {
	for _, origin := range slices.Sorted(maps.Keys(p.Progress)) {
		need := p.Progress[origin]
		if origin == peer.Name || need == 0 {
			continue
		}
		have, ok := peer.Progress[origin]
		if !ok {
			return fmt.Sprintf("%s has no subscription to %s, whose transactions up to %s are in the log here",
				peer.Name, origin, need)
		}
		if have < need {
			return fmt.Sprintf("%s has %s only up to %s of %s", peer.Name, origin, have, need)
		}
	}
	return ""
}
