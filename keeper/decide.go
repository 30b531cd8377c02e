package keeper

import (
	"fmt"
	"slices"
	"strings"

	"healer/topology"
)

// PeerView is what was read from a peer. It may be old: what a peer has
// flushed it keeps, so an old view only asks for less than is true.
type PeerView struct {
	Name string
	// Reachable is false when the peer could not be read; then only Problem
	// means anything.
	Reachable bool
	Problem   string
	// Progress has, for each node the peer subscribes to, the last commit LSN
	// of it that the peer has applied and flushed: pg_replication_origin_progress
	// with flush, since apply workers commit asynchronously and a crash takes
	// back what was not flushed.
	Progress map[string]topology.LSN
	// Gaps lists the origins of which the peer has an open gap mark. Until it
	// is dropped, a resumed recovery reads the whole gap again.
	Gaps []string
}

// ActionKind is what to do about one peer's slot.
type ActionKind string

// The kinds of actions.
const (
	// Hold: leave the slot where it is.
	Hold ActionKind = "hold"
	// Create: make the seed.
	Create ActionKind = "create"
	// Promote: give the seed its real name, or finish doing so.
	Promote ActionKind = "promote"
	// Advance: move the recovery slot to To.
	Advance ActionKind = "advance"
)

// Action is a decision with its reason.
type Action struct {
	Kind ActionKind
	Peer string
	// Slot and To are set for Advance.
	Slot string
	To   topology.LSN
	// Why says what keeps the slot from the newest point; empty when nothing
	// does.
	Why string
}

// Decide says what to do about the slot that this node keeps for the peer.
//
// Invariant: with S this node, T the peer and P the position of T's recovery
// slot, for each transaction of F (F not S, F not T) whose commit record lies
// before P in the log of S, T's flushed progress of F is at least its origin
// LSN. Advance keeps it: the target is a Point all of whose Progress T has
// flushed. Promote establishes it: a seed takes its position at its creation,
// and a covered point at or behind that position speaks of all that lies before
// it. Both stay true however late they are carried out, because flushed
// progress does not shrink.
//
// A disabled subscription of S counts like any other: its transactions are in
// the log. An unreachable peer moves nothing and gets no seed either, since
// nothing could promote it while one made later serves as well. Nothing is made
// on a node whose own last sample failed: it may lack what a slot needs.
func Decide(h *History, peer PeerView, slots []topology.Slot) Action {
	kept, hasKept := find(slots, topology.SlotRecovery, peer.Name)
	seed, hasSeed := find(slots, topology.SlotSeed, peer.Name)
	hold := func(why string) Action { return Action{Kind: Hold, Peer: peer.Name, Why: why} }
	switch {
	case hasKept && hasSeed:
		return Action{Kind: Promote, Peer: peer.Name, Why: "a promotion was interrupted"}
	case !peer.Reachable:
		return hold("cannot read " + peer.Name + ": " + peer.Problem)
	case !hasKept && !hasSeed && !h.current():
		return hold("this node cannot be read")
	case !hasKept && !hasSeed:
		return Action{Kind: Create, Peer: peer.Name, Why: "no recovery slot yet"}
	case len(peer.Gaps) > 0:
		return hold(fmt.Sprintf("%s has an open gap of %s", peer.Name, strings.Join(peer.Gaps, ", ")))
	}
	point, covered, lacks := h.Covered(peer)
	switch {
	case !covered && lacks == "":
		return hold("not enough samples of this node yet")
	case !covered:
		return hold(lacks)
	case hasKept:
		return decideKept(kept, point, lacks, hold)
	default:
		return decideSeed(seed, point, lacks, hold)
	}
}

// decideKept never moves a slot backwards, and never one that is in use.
func decideKept(kept topology.Slot, point Point, lacks string, hold func(string) Action) Action {
	switch {
	case kept.Confirmed == 0:
		return hold("the slot is being made")
	case kept.Active:
		return hold("the slot is in use")
	case point.At <= kept.Confirmed:
		return hold(lacks)
	}
	return Action{Kind: Advance, Peer: kept.To, Slot: kept.Name, To: point.At, Why: lacks}
}

func decideSeed(seed topology.Slot, point Point, lacks string, hold func(string) Action) Action {
	switch {
	case seed.Confirmed == 0:
		return hold("the slot is being made")
	case point.At < seed.Confirmed && lacks != "":
		return hold(lacks)
	case point.At < seed.Confirmed:
		return hold("no sample since the slot was made")
	}
	return Action{Kind: Promote, Peer: seed.To, Why: lacks}
}

// find returns the peer's slot of that kind. A lost slot is as good as none:
// its WAL is gone, so it can never be copied.
func find(slots []topology.Slot, kind topology.SlotKind, peer string) (topology.Slot, bool) {
	i := slices.IndexFunc(slots, func(s topology.Slot) bool {
		return s.Kind == kind && s.To == peer && s.WALStatus != walLost
	})
	if i < 0 {
		return topology.Slot{}, false
	}
	return slots[i], true
}

// walLost and walUnreserved are values of pg_replication_slots.wal_status.
const (
	walLost       = "lost"
	walUnreserved = "unreserved"
)
