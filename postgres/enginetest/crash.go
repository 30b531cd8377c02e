package enginetest

import (
	"context"

	"healer/topology"
)

// crashedFence: the fenced server dies right after: subscription and mark are one.
func crashedFence(r rig) {
	ctx := r.Context()
	sub := r.subscribed("n1", "n3")
	fence, err := r.e.Fence(ctx, "n1", sub, lostID())
	r.try(err)
	_, err = r.e.MarkGap(ctx, "n1", "n3", 5, 9)
	r.try(err)
	r.try(r.mesh.Kill(ctx, "n1"))
	r.back("n1")
	r.wantFenced("n1", "n3", fence)
	if gap, ok := r.observed("n1").GapOf("n3"); !ok || gap.From != 5 || gap.To != 9 {
		r.Errorf("gap %+v %v", gap, ok)
	}
	r.try(r.e.UnmarkGap(ctx, "n1", "n3", 9))
	r.try(r.e.Unfence(ctx, "n1", fence))
	r.wantOpen()
	r.streaming()
	r.caughtUp()
}

// written are rows that a node wrote one by one, the first with the key base: ends has for
// each a position of its log behind it and before the next one.
type written struct {
	base int
	ends []topology.LSN
}

// write writes rows until the returned function is called.
func (r rig) write(node string, base int) (stop func() written) {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	done := make(chan written, 1)
	conn, err := r.mesh.Node(node).Connect(ctx)
	r.try(err)
	go func() {
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		w := written{base: base}
		for ctx.Err() == nil {
			var end string
			if _, err := conn.Exec(ctx, "INSERT INTO kv VALUES ($1, 'crash')", base+len(w.ends)); err != nil {
				break
			}
			if err := conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&end); err != nil {
				break
			}
			lsn, err := topology.ParseLSN(end)
			if err != nil {
				break
			}
			w.ends = append(w.ends, lsn)
		}
		done <- w
	}()
	return func() written {
		cancel()
		return <-done
	}
}

// crashedProgress: a survivor dies while it applies, and the node it reads from dies
// before it is back: its progress is exactly what it has.
func crashedProgress(r rig) {
	ctx := r.Context()
	const base = 10_000
	sub := r.subscribed("n2", "n3")
	stop := r.write("n3", base)
	r.within("n2 applies what n3 writes", func() bool {
		return value[int](r, "n2", "SELECT count(*)::int FROM kv WHERE k >= $1 AND k < 1000000", base) > 50
	})
	r.try(r.mesh.Kill(ctx, "n2"))
	w := stop()
	r.try(r.mesh.Kill(ctx, "n3"))
	r.back("n2")
	has := value[int](r, "n2", "SELECT count(*)::int FROM kv WHERE k >= $1 AND k < 1000000", base)
	last := value[int](r, "n2", "SELECT coalesce(max(k), 0)::int FROM kv WHERE k >= $1 AND k < 1000000", base)
	progress, err := r.e.Progress(ctx, "n2", sub.Origin, true)
	r.try(err)
	if has == 0 || last != base+has-1 || has > len(w.ends)+1 {
		r.Fatalf("n2 has %d of %d rows, the last is %d", has, len(w.ends), last-base)
	}
	// The transaction that was cut off may have been committed without its position known.
	if progress <= w.ends[max(has-2, 0)] || (has <= len(w.ends) && progress > w.ends[has-1]) {
		r.Errorf("n2 has %d rows, up to between %s and %s, and its progress is %s", has, w.ends[max(has-2, 0)], w.ends[min(has, len(w.ends))-1], progress)
	}
	if again, _ := r.observed("n2").From("n3"); again.Progress != progress {
		r.Errorf("observed %s, flushed %s", again.Progress, progress)
	}
	r.back("n3")
	r.streaming()
	r.caughtUp()
	if a, b := value[int](r, "n2", "SELECT count(*)::int FROM kv"), value[int](r, "n3", "SELECT count(*)::int FROM kv"); a != b {
		r.Errorf("n2 has %d rows, n3 %d", a, b)
	}
}

// drops: what a survivor has of a node that is dead for good goes, with its marks, and
// not before.
func drops(r rig) {
	ctx := r.Context()
	sub := r.subscribed("n1", "n3")
	r.try(r.mesh.Kill(ctx, "n3"))
	_, err := r.e.Fence(ctx, "n1", sub, lostID())
	r.try(err)
	if marks, err := r.e.MarksOf(ctx, "n1", "n3"); err != nil || len(marks) != 1 {
		r.Errorf("marks %v: %v", marks, err)
	}
	for range 2 {
		r.try(r.e.DropSubscription(ctx, "n1", sub.ID))
	}
	n := r.observed("n1")
	if sub, ok := n.From("n3"); ok || len(n.Fences) > 0 {
		r.Errorf("left: %+v, %+v", sub, n.Fences)
	}
	if value[bool](r, "n1", r.Knows, "n3") {
		r.Error("n1 still knows of n3")
	}
	if _, err := r.e.Progress(ctx, "n1", sub.Origin, false); err == nil {
		r.Errorf("the origin %s is left", sub.Origin)
	}
}
