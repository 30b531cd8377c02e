package steps

import (
	"context"

	"healer/planner"
	"healer/rescue"
)

// freer looks whether apply workers of the laggard fail while a settling lane waits for
// them. When they have failed again since the last look, rows of the gap may be in their
// way: these are taken off. What cannot be looked at is looked at the next time.
func (r *Run) freer(p planner.Plan, l *lane) func(context.Context, *rescue.Touched) {
	before := int64(-1)
	return func(ctx context.Context, touched *rescue.Touched) {
		now, err := r.applyFailures(ctx, l.Target)
		if err != nil || before < 0 || now == before {
			before = max(before, now)
			return
		}
		before = now
		of := r.left(p)
		of.Survivors = []string{l.Source, l.Target}
		peers, err := r.peers(ctx, of)
		defer closeAll(ctx, peers)
		if err != nil {
			return
		}
		freed, err := rescue.Free(ctx, peers[0], peers[1], p.Node, touched)
		if freed > 0 || err != nil {
			r.Log.Warn("rows of the gap kept apply workers from going on, and were taken off until the comparison",
				"laggard", l.Target, "rows", freed, "error", err)
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
