package keeper

import (
	"context"
	"log/slog"
	"time"

	"healer/topology"
)

// Store is what the keeper needs of the servers. Its methods are called from
// several goroutines; each call gets a context with a time limit and must
// return soon after that ends.
type Store interface {
	// Sample reads the keeping node: its flushed LSN first, then its progress.
	Sample(ctx context.Context) (Sample, error)
	// PeerProgress reads the peer's flushed progress and its gap marks. An
	// error means that the peer cannot be read now.
	PeerProgress(ctx context.Context, peer string) (PeerView, error)
	// Slots lists the keeping node's slots.
	Slots(ctx context.Context) ([]topology.Slot, error)
	// CreateSeed makes the seed for the peer on the keeping node, in place of
	// a lost one. PostgreSQL waits for every running transaction meanwhile, so
	// this may take as long as the longest of them; when ctx ends nothing may
	// be left behind.
	CreateSeed(ctx context.Context, peer string) error
	// Promote copies the peer's seed to the real name unless a recovery slot
	// that is not lost has it, and then drops the seed. It may be repeated.
	Promote(ctx context.Context, peer string) error
	// Advance moves the slot forward. A slot that is further on already, or
	// held by a session, is no error that matters: it is tried again.
	Advance(ctx context.Context, slot string, to topology.LSN) error
	// StandbySnapshot writes a snapshot of the running transactions to the
	// keeping node's log (pg_log_standby_snapshot), without which restart_lsn
	// of the slots stays up to 15 s behind. Does nothing where the server
	// cannot do it.
	StandbySnapshot(ctx context.Context) error
}

// Limits bounds what the keeper waits for and retains. Zero values mean the
// defaults.
type Limits struct {
	// Read bounds one reading of the own node or of a peer; default 3 s.
	Read time.Duration
	// Create bounds the making of a slot; default 2 min.
	Create time.Duration
	// Advance bounds one move of a slot; default 1 min.
	Advance time.Duration
	// Backoff is the longest pause after repeated failures; default 5 s.
	Backoff time.Duration
	// WarnBytes is the WAL retained by one slot from which it is at risk;
	// default 1 GiB.
	WarnBytes int64
	// SnapshotBytes is how much WAL is written between two standby snapshots;
	// default 256 KiB. It keeps an idle server's log from growing.
	SnapshotBytes int64
	// History is how many points are remembered; default 2048.
	History int
}

func (l Limits) withDefaults() Limits {
	l.Read = orDefault(l.Read, 3*time.Second)
	l.Create = orDefault(l.Create, 2*time.Minute)
	l.Advance = orDefault(l.Advance, time.Minute)
	l.Backoff = orDefault(l.Backoff, 5*time.Second)
	l.WarnBytes = orDefault(l.WarnBytes, 1<<30)
	l.SnapshotBytes = orDefault(l.SnapshotBytes, 256<<10)
	l.History = orDefault(l.History, 2048)
	return l
}

func orDefault[T ~int | ~int64](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// EventKind is what happened to a slot.
type EventKind string

// The kinds of events, as the last token of Healer's event names.
const (
	// Created: a recovery slot is in place and covers its peer.
	Created EventKind = "created"
	// AtRisk: a slot retains much WAL, or the server is about to remove or has
	// removed WAL it needs.
	AtRisk EventKind = "at_risk"
)

// Event is reported once for each time that it becomes true.
type Event struct {
	Kind EventKind
	Peer string
	Slot topology.Slot
	// Why explains AtRisk.
	Why string
}

// Options configure a Keeper.
type Options struct {
	// Node is the node whose slots are kept, Peers all others of the mesh.
	Node  string
	Peers []string
	Store Store
	// Interval is the pause between two ticks; default 200 ms.
	Interval time.Duration
	Limits   Limits
	// OnEvent is called from the keeper's goroutines and must not block; may
	// be nil.
	OnEvent func(Event)
	// Log receives one line for each change of state, never one per tick; nil
	// discards them.
	Log *slog.Logger
}
