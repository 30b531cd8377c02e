package engine

import (
	"context"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

// owed are the marks among the names that rows have still to be compared with a node.
func owed(database string, names []string) []topology.Owed {
	var out []topology.Owed
	for _, name := range names {
		if o, ok := mark.ParseOwed(database, name); ok {
			out = append(out, o)
		}
	}
	return out
}

// Owe leaves on the node the mark that the rows of a gap of origin have still to be
// compared with another node. It may be repeated.
func (e *Engine) Owe(ctx context.Context, node, other, origin string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	name := mark.Owed(s.Database(), other, origin)
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		have, err := postgres.LockMarks(ctx, tx, name)
		if err != nil || (len(have) > 0 && have[0] == name) {
			return err
		}
		return postgres.CreateMark(ctx, tx, name)
	})
}
