package engine

import (
	"context"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

// bars are the marks among the names that bar a node.
func bars(database string, names []string) []topology.Bar {
	var out []topology.Bar
	for _, name := range names {
		if b, ok := mark.ParseBar(database, name); ok {
			out = append(out, b)
		}
	}
	return out
}

// Bar leaves on the node the mark that another must not be taken back, in place
// of an older one for the same reason. It may be repeated.
func (e *Engine) Bar(ctx context.Context, node, other, reason string, id topology.Identity) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	name := mark.Bar(s.Database(), other, reason, id)
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		have, err := postgres.LockMarks(ctx, tx, mark.BarsOf(s.Database(), other))
		if err != nil {
			return err
		}
		for _, old := range have {
			if old == name {
				return nil
			}
			if b, ok := mark.ParseBar(s.Database(), old); ok && b.Node == other && b.Reason == reason {
				if err := postgres.DropMark(ctx, tx, old); err != nil {
					return err
				}
			}
		}
		return postgres.CreateMark(ctx, tx, name)
	})
}

// Unbar removes from the node every mark that bars the other.
func (e *Engine) Unbar(ctx context.Context, node, other string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		have, err := postgres.LockMarks(ctx, tx, mark.BarsOf(s.Database(), other))
		if err != nil {
			return err
		}
		for _, old := range have {
			if b, ok := mark.ParseBar(s.Database(), old); ok && b.Node == other {
				if err := postgres.DropMark(ctx, tx, old); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
