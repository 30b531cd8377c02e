package engine

import (
	"context"
	"slices"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

// Mark is a mark or origin of Healer's in a node's database, and the node it is about.
type Mark struct {
	Name, About string
	// Fence says that a subscription stands disabled behind it: Unfence removes it.
	Fence bool
}

// Marks lists all marks and origins of Healer's on the node; those of the server's other
// databases are left out.
func (e *Engine) Marks(ctx context.Context, node string) ([]Mark, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, err
	}
	var all []string
	if err := s.JSON(ctx, &all, "SELECT "+postgres.MarksJSON); err != nil {
		return nil, err
	}
	var out []Mark
	for _, name := range all {
		if other := about(s.Database(), name); other != "" {
			_, fence := mark.ParseFence(s.Database(), name)
			out = append(out, Mark{Name: name, About: other, Fence: fence})
		}
	}
	return out, nil
}

const ownPublicationsSQL = `SELECT coalesce((SELECT jsonb_agg(pubname ORDER BY pubname) FROM pg_publication WHERE pubname = ANY ($1)), '[]')`

// OwnPublications lists the publications on the node that EnsurePublication made.
func (e *Engine) OwnPublications(ctx context.Context, node string) ([]string, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, err
	}
	var names []string
	return names, s.JSON(ctx, &names, ownPublicationsSQL, []string{pubAll, pubInserts})
}

// DropPublication drops one of OwnPublications; one that is gone is no error.
func (e *Engine) DropPublication(ctx context.Context, node, name string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{pubAll, pubInserts}, name) {
		return topology.Faultf(topology.Permanent, "not_ours", "%s: publication %q is not Healer's", node, name)
	}
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		_, err := tx.Exec(ctx, "DROP PUBLICATION IF EXISTS "+postgres.Ident(name))
		return err
	})
}
