package engine

import (
	"context"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

// DropSubscription removes a subscription with its fence marks, in one
// transaction, and leaves the slot at its provider alone, which may be gone. One
// that does not exist is no error.
func (e *Engine) DropSubscription(ctx context.Context, node string, id uint32) error {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return err
	}
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error { return dropSubscription(ctx, tx, s, t, id) })
}

func dropSubscription(ctx context.Context, tx postgres.Tx, s *postgres.Server, t tongue, id uint32) error {
	marks, err := postgres.LockMarks(ctx, tx, mark.FencesOf(s.Database(), id))
	if err != nil {
		return err
	}
	now, err := lookup(ctx, tx, s, t, id)
	if err != nil {
		return err
	}
	if now.exists {
		_, err := tx.Exec(ctx, t.Drop(now.name), postgres.Simple)
		if err != nil {
			return err
		}
	}
	for _, name := range marks {
		if m, ok := mark.ParseFence(s.Database(), name); ok && m.Subscription == id {
			if err := postgres.DropMark(ctx, tx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// MarksOf lists the marks and origins of Healer's on the node that are about
// another node: fences, gaps, bars, comparisons that are owed to it, and the origin of its
// repaired rows.
func (e *Engine) MarksOf(ctx context.Context, node, other string) ([]string, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, err
	}
	var all, out []string
	if err := s.JSON(ctx, &all, "SELECT "+postgres.MarksJSON); err != nil {
		return nil, err
	}
	for _, name := range all {
		if about(s.Database(), name) == other {
			out = append(out, name)
		}
	}
	return out, nil
}

// about is the node that a mark of the database is about.
func about(database, name string) string {
	if f, ok := mark.ParseFence(database, name); ok {
		return f.Fence.Origin
	}
	if g, ok := mark.ParseGap(database, name); ok {
		return g.Origin
	}
	if b, ok := mark.ParseBar(database, name); ok {
		return b.Node
	}
	if o, ok := mark.ParseOwed(database, name); ok {
		return o.Node
	}
	author, _ := mark.ParseRepair(name)
	return author
}

// ForgetMark drops one of MarksOf; one that is gone is no error.
func (e *Engine) ForgetMark(ctx context.Context, node, other, name string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	if about(s.Database(), name) != other {
		return topology.Faultf(topology.Permanent, "not_ours", "%s: %q is no mark about %s", node, name, other)
	}
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		have, err := postgres.LockMarks(ctx, tx, name)
		if err != nil || len(have) == 0 || have[0] != name {
			return err
		}
		return postgres.DropMark(ctx, tx, name)
	})
}

// DropMeshSlot drops a slot that feeds another node's Subscription, of whatever
// name: the caller answers for it. One that is gone is no error; one that a
// session reads from is a transient fault when ctx ends.
func (e *Engine) DropMeshSlot(ctx context.Context, node, name string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	return s.DropSlot(ctx, name, false)
}
