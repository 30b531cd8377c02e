package engine

import (
	"context"
	"fmt"

	"healer/postgres"
	"healer/topology"
)

const (
	plugin = "pgoutput"
	// lost is the wal_status of a slot whose WAL is gone for good.
	lost = "lost"
)

// CreateSeed makes the seed slot for the peer, in place of a lost one. The
// server waits for every running transaction meanwhile; when ctx ends first,
// nothing is left behind. A seed that is there is kept.
func (e *Engine) CreateSeed(ctx context.Context, node, peer string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	name := topology.SeedSlotName(s.Database(), node, peer)
	old, ok, err := s.Slot(ctx, name)
	if err != nil || (ok && old.WALStatus != lost) {
		return err
	}
	if ok {
		if err := s.DropSlot(ctx, name, false); err != nil {
			return err
		}
	}
	t, err := e.tongue(ctx, s)
	if err != nil {
		return err
	}
	if adopted, err := t.adopt(ctx, s, name); adopted || err != nil {
		return err
	}
	return allowTaken(s.CreateSlot(ctx, name, t.plugin()))
}

// adopt makes a seed of the slot that the engine keeps for recoveries itself, if there is
// one that still has its WAL: that reaches back further than a new one.
func (t tongue) adopt(ctx context.Context, s *postgres.Server, seed string) (bool, error) {
	p := t.plugged()
	if p == nil {
		return false, nil
	}
	slot, ok, err := s.Slot(ctx, p.Adopts(s.Database()))
	if err != nil || !ok || slot.Plugin == "" || slot.Restart == 0 || slot.Confirmed == 0 || slot.WALStatus == lost {
		return false, err
	}
	return true, allowTaken(s.CopySlot(ctx, slot.Name, seed, p.Plugin()))
}

// Promote copies the peer's seed to the recovery slot's name, unless one that
// is not lost has it already, and drops the seed. The copy is durable before
// the seed goes, so it may be repeated at any point.
func (e *Engine) Promote(ctx context.Context, node, peer string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	name := topology.RecoverySlotName(s.Database(), node, peer)
	seed := topology.SeedSlotName(s.Database(), node, peer)
	old, ok, err := s.Slot(ctx, name)
	if err != nil {
		return err
	}
	if ok && old.WALStatus == lost {
		if err := s.DropSlot(ctx, name, false); err != nil {
			return err
		}
		ok = false
	}
	if !ok {
		t, err := e.tongue(ctx, s)
		if err != nil {
			return err
		}
		if err := allowTaken(s.CopySlot(ctx, seed, name, t.plugin())); err != nil {
			return err
		}
	}
	return s.DropSlot(ctx, seed, false)
}

// CloneSlot copies a recovery slot for one recovery, with the engine's plugin. A
// clone that is there is kept: clones are never confirmed while they stream,
// so it is as good as new, unless its WAL is lost ("slot_lost").
func (e *Engine) CloneSlot(ctx context.Context, node, src, dst string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	if e.slotNames(node)[dst].Kind != topology.SlotClone {
		return notOurs(node, dst, "clone")
	}
	old, ok, err := s.Slot(ctx, dst)
	switch {
	case err != nil:
		return err
	case ok && old.WALStatus == lost:
		return slotLost(node, dst)
	case ok:
		return nil
	}
	t, err := e.tongue(ctx, s)
	if err != nil {
		return err
	}
	err = allowTaken(s.CopySlot(ctx, src, dst, t.plugin()))
	if postgres.Is(err, "55000") {
		if from, ok, lookErr := s.Slot(ctx, src); lookErr == nil && ok && from.WALStatus == lost {
			return slotLost(node, src)
		}
	}
	return err
}

// AdvanceSlot moves a recovery slot, seed or clone forward to lsn and returns
// where it then is. It never moves a slot backwards, and no slot of the mesh.
func (e *Engine) AdvanceSlot(ctx context.Context, node, name string, lsn topology.LSN) (topology.LSN, error) {
	s, err := e.server(node)
	if err != nil {
		return 0, err
	}
	if _, ours := e.slotNames(node)[name]; !ours {
		return 0, notOurs(node, name, "advance")
	}
	return s.AdvanceSlot(ctx, name, lsn)
}

// DropSlot drops a recovery slot, seed or clone; one that is gone is no error.
// A clone that a session of Healer's still streams is taken from it. It
// refuses slots of any other name ("not_ours").
func (e *Engine) DropSlot(ctx context.Context, node, name string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	slot, ours := e.slotNames(node)[name]
	if !ours {
		return notOurs(node, name, "drop")
	}
	return s.DropSlot(ctx, name, slot.Kind == topology.SlotClone)
}

// StandbySnapshot writes a snapshot of the running transactions to the node's
// log, so that slots can move their restart_lsn forward. Before 16 only the server
// itself does that, every 15 seconds while it is written to.
func (e *Engine) StandbySnapshot(ctx context.Context, node string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	t, err := e.tongue(ctx, s)
	if err != nil || t.version < 160000 {
		return err
	}
	return s.StandbySnapshot(ctx)
}

// allowTaken drops the error that another agent was faster.
func allowTaken(err error) error {
	if postgres.Is(err, "42710") {
		return nil
	}
	return err
}

func notOurs(node, name, verb string) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "not_ours", Node: node,
		Err: fmt.Errorf("refusing to %s replication slot %q: it is not one of Healer's", verb, name),
	}
}

func slotLost(node, name string) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "slot_lost", Node: node,
		Hint: "raise max_slot_wal_keep_size (-1 is without limit); the node it was kept for needs a rebuild",
		Err:  fmt.Errorf("the WAL that replication slot %q needs has been removed", name),
	}
}
