package steps

import (
	"context"
	"errors"
	"slices"
	"time"

	"healer/planner"
	"healer/rescue"
)

// freer looks whether apply workers of the laggard fail while a settling lane waits for
// them. When they have failed again since the last look, rows of the gap may be in their
// way: these are taken off. What cannot be looked at is looked at the next time.
// It returns how many that were.
func (r *Run) freer(p planner.Plan, source, target string) func(context.Context, ...*rescue.Touched) int {
	before := int64(-1)
	return func(ctx context.Context, touched ...*rescue.Touched) int {
		now, err := r.applyFailures(ctx, target)
		if err != nil || before < 0 || now == before {
			before = max(before, now)
			return 0
		}
		before = now
		of := r.left(p)
		of.Survivors = []string{source, target}
		peers, err := r.peers(ctx, of)
		defer closeAll(ctx, peers)
		if err != nil {
			return 0
		}
		freed := 0
		for _, t := range touched {
			n, ferr := rescue.Free(ctx, peers[0], peers[1], p.Node, t)
			freed, err = freed+n, errors.Join(err, ferr)
		}
		if freed > 0 || err != nil {
			r.Log.Warn("rows of the gap kept apply workers from going on, and were taken off until the comparison",
				"laggard", target, "rows", freed, "error", err)
		}
		return freed
	}
}

// barrier waits until each survivor has applied what the others had committed, as the
// comparison needs it. A row may come in the way after the gap was carried, too.
// What is taken off meanwhile counts in freed.
func (r *Run) barrier(p planner.Plan, touched []*rescue.Touched, freed *int) rescue.Barrier {
	var free []func(context.Context, ...*rescue.Touched) int
	for _, l := range p.Lanes {
		if l.Source != l.Target && slices.Contains(p.Survivors, l.Source) && slices.Contains(p.Survivors, l.Target) {
			free = append(free, r.freer(p, l.Source, l.Target))
		}
	}
	return func(ctx context.Context) error {
		done := make(chan error, 1)
		go func() { done <- r.Engine.Barrier(ctx, mutual(p.Survivors)) }()
		tick := time.NewTicker(rescue.FreeEvery)
		defer tick.Stop()
		for {
			select {
			case err := <-done:
				return err
			case <-tick.C:
				for _, f := range free {
					*freed += f(ctx, touched...)
				}
			}
		}
	}
}

// applyFailures is how often apply workers of the node have failed.
func (r *Run) applyFailures(ctx context.Context, node string) (int64, error) {
	server, err := r.server(node)
	if err != nil {
		return -1, err
	}
	conn, err := server.Session(ctx)
	if err != nil {
		return -1, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return rescue.ApplyFailures(ctx, conn)
}
