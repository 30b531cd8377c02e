package keeper

import (
	"context"
	"fmt"
	"time"

	"healer/topology"
)

// Status is what the keeper knows, for an operator.
type Status struct {
	Node string `json:"node"`
	// Problem says why the node itself cannot be judged; empty when it can.
	Problem string       `json:"problem,omitempty"`
	Flushed topology.LSN `json:"flushed"`
	// Peers is sorted by name.
	Peers []PeerStatus `json:"peers"`
}

// PeerStatus is the state of the slot kept for one peer.
type PeerStatus struct {
	Peer string `json:"peer"`
	// Slot is the recovery slot, or the seed while there is no recovery slot;
	// its name is empty while there is neither.
	Slot topology.Slot `json:"slot"`
	// Phase is what was decided last.
	Phase ActionKind `json:"phase"`
	// Why says what keeps the slot from moving on; empty when nothing does.
	Why string `json:"why,omitempty"`
}

// Covering reports whether a recovery slot is in place.
func (p PeerStatus) Covering() bool {
	return p.Slot.Kind == topology.SlotRecovery && p.Slot.WALStatus != walLost
}

// Status returns the present state; it never waits for a server.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	s := Status{Node: k.node, Problem: k.problem, Flushed: k.flushed, Peers: make([]PeerStatus, 0, len(k.lanes))}
	k.mu.Unlock()
	for _, l := range k.lanes {
		l.mu.Lock()
		s.Peers = append(s.Peers, l.status)
		l.mu.Unlock()
	}
	return s
}

func (l *lane) report(s PeerStatus) {
	l.mu.Lock()
	l.status = s
	l.mu.Unlock()
}

func (l *lane) statusOf(a Action, slots []topology.Slot) PeerStatus {
	s := PeerStatus{Peer: l.peer, Phase: a.Kind, Why: a.Why}
	if slot, ok := find(slots, topology.SlotRecovery, l.peer); ok {
		s.Slot = slot
	} else if slot, ok := find(slots, topology.SlotSeed, l.peer); ok {
		s.Slot = slot
	}
	return s
}

// within calls f with a time limit.
func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

// bounded calls f with a time limit and says what failed.
func bounded(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := f(ctx); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	return nil
}
