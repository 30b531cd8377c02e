package engine

import (
	"context"
	"slices"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

// Done reports whether a person has marked on the node that what a message of the lost
// node's transaction asks for is done there, and the mark that says so.
func (e *Engine) Done(ctx context.Context, node, lost string, lsn topology.LSN) (done bool, name string, err error) {
	s, err := e.server(node)
	if err != nil {
		return false, "", err
	}
	name = mark.Done(s.Database(), lost, lsn)
	var all []string
	if err := s.JSON(ctx, &all, "SELECT "+postgres.MarksJSON); err != nil {
		return false, name, err
	}
	return slices.Contains(all, name), name, nil
}

// forgetDone removes those marks: the gap they are about is carried.
func forgetDone(ctx context.Context, s *postgres.Server, lost string) error {
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		have, err := postgres.LockMarks(ctx, tx, mark.DonesOf(s.Database(), lost))
		for _, name := range have {
			if err == nil {
				err = postgres.DropMark(ctx, tx, name)
			}
		}
		return err
	})
}
