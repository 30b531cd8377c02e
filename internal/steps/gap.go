package steps

import (
	"context"
	"fmt"
	"time"

	"healer/executor"
	"healer/planner"
	"healer/postgres"
	"healer/rescue"
	"healer/topology"
)

// checkClone: this run holds the lock, the gap is marked and the clone exists.
// Whether the clone of an earlier run is still good is for Apply to find out.
func (r *Run) checkClone(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	l, err := r.laneOf(p, s)
	if err != nil {
		return false, "", err
	}
	l.mu.Lock()
	held := l.session != nil
	l.mu.Unlock()
	if !held {
		return false, "", nil
	}
	target, err := r.observe(ctx, l.Target)
	if err != nil {
		return false, "", err
	}
	gap, marked := target.GapOf(p.Node)
	if !marked || gap.From > l.From || gap.To != l.To {
		return false, "", nil
	}
	slot, ok, err := r.clone(ctx, l)
	if err != nil || !ok || slot.WALStatus == "lost" {
		return false, "", err
	}
	return true, fmt.Sprintf("clone %s at %s, gap marked from %s to %s", slot.Name, slot.Confirmed, gap.From, gap.To), nil
}

// applyClone takes the lock first, so that of two coordinators one yields
// before either has made anything, and marks the gap before the first
// transaction can be carried across.
func (r *Run) applyClone(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	l, err := r.laneOf(p, s)
	if err != nil {
		return executor.Result{}, err
	}
	if err := r.proven(ctx, p, l.Source); err != nil {
		return executor.Result{}, err
	}
	if _, err := r.acquire(ctx, p, l); err != nil {
		return executor.Result{}, err
	}
	if err := r.prepared(ctx, p, l); err != nil {
		return executor.Result{}, err
	}
	gap, err := r.Engine.MarkGap(ctx, l.Target, p.Node, l.From, l.To)
	if err != nil {
		return executor.Result{}, err
	}
	if err := r.Engine.CloneSlot(ctx, l.Source, l.Slot, l.Clone); err != nil {
		return executor.Result{}, err
	}
	return executor.Result{
		Evidence: fmt.Sprintf("%s copied to %s; gap marked from %s to %s", l.Slot, l.Clone, gap.From, gap.To),
	}, nil
}

// checkAdvance: the clone stands at the newest position known to lie before the
// gap, or none is known.
func (r *Run) checkAdvance(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	l, err := r.laneOf(p, s)
	if err != nil {
		return false, "", err
	}
	safe, known := r.SafePoint(l.Source, p.Node, l.From)
	if !known {
		return true, "no position nearer to the gap is known: the filter by origin LSN decides", nil
	}
	slot, ok, err := r.clone(ctx, l)
	if err != nil || !ok || slot.Confirmed < safe {
		return false, "", err
	}
	return true, fmt.Sprintf("clone at %s, the gap begins behind %s", slot.Confirmed, safe), nil
}

func (r *Run) applyAdvance(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	l, err := r.laneOf(p, s)
	if err != nil {
		return executor.Result{}, err
	}
	safe, known := r.SafePoint(l.Source, p.Node, l.From)
	if !known {
		return executor.Result{Evidence: "no position nearer to the gap is known"}, nil
	}
	at, err := r.Engine.AdvanceSlot(ctx, l.Source, l.Clone, safe)
	if err != nil {
		return executor.Result{}, err
	}
	return executor.Result{Evidence: fmt.Sprintf("clone advanced to %s", at)}, nil
}

// checkSubscribe: done only when this run has streamed the gap itself, because
// the verification needs the keys that it touched.
func (r *Run) checkSubscribe(_ context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	l, err := r.laneOf(p, s)
	if err != nil {
		return false, "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.touched == nil || l.session == nil || l.session.Progress() < l.To {
		return false, "", nil
	}
	return true, fmt.Sprintf("%s has applied %s up to %s", l.Target, p.Node, l.session.Progress()), nil
}

func (r *Run) applySubscribe(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	l, err := r.laneOf(p, s)
	if err != nil {
		return executor.Result{}, err
	}
	session, err := r.acquire(ctx, p, l)
	if err != nil {
		return executor.Result{}, err
	}
	report, touched, err := r.replay(ctx, p, l, session)
	conflicts := l.met(report.Conflicts)
	if err != nil {
		// Whatever broke, a session may have ended with it: the next attempt
		// starts from a new one and from the progress that it reads.
		l.broken(context.WithoutCancel(ctx))
		return executor.Result{Conflicts: conflicts}, err
	}
	if err := l.touch(touched); err != nil {
		return executor.Result{}, err
	}
	return executor.Result{
		Evidence: fmt.Sprintf("%d of %d transactions of %s applied on %s, %d row changes (%d bytes), %d conflicts, progress %s -> %s, touched keys on %s",
			report.Applied, report.Transactions, p.Node, l.Target, report.Rows, report.Bytes, conflicts.Total(), report.From, report.To, report.Keys),
		Conflicts: conflicts,
		Figures: map[string]int64{
			executor.FigureMissing:      report.Transactions,
			executor.FigureTransactions: report.Applied,
			"rows":                      report.Rows,
			"bytes":                     report.Bytes,
			"touched":                   int64(touched.Len()),
			executor.FigureConflicts:    conflicts.Total(),
		},
	}, nil
}

// replay streams the clone and applies the gap.
func (r *Run) replay(ctx context.Context, p planner.Plan, l *lane, session *rescue.Session) (rescue.Report, *rescue.Touched, error) {
	source, sourceSub, err := r.seen(p, l.Source)
	if err != nil {
		return rescue.Report{}, nil, err
	}
	_, targetSub, err := r.seen(p, l.Target)
	if err != nil {
		return rescue.Report{}, nil, err
	}
	tables, err := r.tables(ctx, r.left(p), l.Target, targetSub)
	if err != nil {
		return rescue.Report{}, nil, err
	}
	sift, err := r.sieve(ctx, p, l)
	if err != nil {
		return rescue.Report{}, nil, err
	}
	defer func() { _ = sift.Close(context.WithoutCancel(ctx)) }()
	queue, err := r.Engine.Queue(ctx, l.Target)
	if err != nil {
		return rescue.Report{}, nil, err
	}
	stream, err := r.stream(ctx, p, l)
	if err != nil {
		return rescue.Report{}, nil, err
	}
	report, touched, err := rescue.Replay(ctx, session, stream, rescue.Gap{
		Again: func(ctx context.Context) (*rescue.Stream, error) {
			_ = stream.Close(ctx)
			again, err := r.reopen(ctx, p, l)
			if err == nil {
				stream = again
			}
			return again, err
		},
		Concede: func(ctx context.Context, c rescue.Concession) (bool, error) {
			peers, err := r.peers(ctx, r.left(p))
			defer closeAll(ctx, peers)
			if err != nil {
				return false, err
			}
			r.Log.Info("a survivor gives up a row that keeps it from applying another one's", "row", c.String(), "laggard", l.Target)
			return rescue.Concede(ctx, peers, l.Target, c)
		},
		Origin: p.Node, Source: l.Source, SourceOrigin: sourceSub.Origin,
		Sift: sift, Queue: queue,
		Take: func(ctx context.Context, lsn topology.LSN, message map[string]string) error {
			return r.take(ctx, p, l, lsn, message)
		},
		Floor: l.From, Watermark: l.To, Tables: tables, Authors: source.Authors(),
		Spill:  rescue.Spill{Dir: r.SpillDir},
		Settle: func(ctx context.Context) (topology.LSN, error) { return r.settle(ctx, p, l.Source) },
		Free:   r.freeing(p, l),
	})
	// The stream's own end adds nothing to what Replay says about it.
	_ = stream.Close(context.WithoutCancel(ctx))
	return report, touched, r.Wrap(l.Target, err)
}

// reopen opens the clone once more, as soon as its walsender has noticed that the
// stream before it ended.
func (r *Run) reopen(ctx context.Context, p planner.Plan, l *lane) (*rescue.Stream, error) {
	limit := time.Now().Add(lingering)
	for {
		stream, err := r.stream(ctx, p, l)
		if !postgres.Is(err, "55006") || time.Now().After(limit) {
			return stream, err
		}
		if err := postgres.Pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// stream opens the clone up to where the source is now: asynchronous commits of
// its apply workers are flushed first, because only flushed WAL is decoded.
func (r *Run) stream(ctx context.Context, p planner.Plan, l *lane) (*rescue.Stream, error) {
	until, err := r.Engine.Flush(ctx, l.Source)
	if err != nil {
		return nil, err
	}
	pubs, err := r.Engine.Publications(ctx, l.Source, l.Target, p.Node)
	if err != nil {
		return nil, err
	}
	server, err := r.server(l.Source)
	if err != nil {
		return nil, err
	}
	format, err := r.Engine.Format(ctx, l.Source, l.Target, p.Node)
	if err != nil {
		return nil, err
	}
	conn, err := server.Replication(ctx)
	if err != nil {
		return nil, r.Wrap(l.Source, err)
	}
	stream, err := rescue.OpenStream(ctx, conn, rescue.StreamOptions{
		Node: l.Source, Slot: l.Clone, Publications: pubs, Until: until, Format: format,
	})
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, r.Wrap(l.Source, err)
	}
	return stream, nil
}

// checkRelease: neither the clone nor the gap mark is left.
func (r *Run) checkRelease(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	source, err := r.observe(ctx, s.Node)
	if err != nil {
		return false, "", err
	}
	if _, ok := source.Slot(topology.SlotClone, s.Target, p.Node); ok {
		return false, "", nil
	}
	if r.participates(p, s.Target) {
		target, err := r.observe(ctx, s.Target)
		if err != nil {
			return false, "", err
		}
		if _, ok := target.GapOf(p.Node); ok {
			return false, "", nil
		}
	}
	return true, "no clone and no gap mark is left", nil
}

// applyRelease drops the clone before the mark: as long as the mark stands, the
// recovery is known to be unfinished.
func (r *Run) applyRelease(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	source, err := r.observe(ctx, s.Node)
	if err != nil {
		return executor.Result{}, err
	}
	if s.Node == s.Target {
		// Nobody is left to compare it with: nobody has carried it anew.
		if err := r.proven(ctx, p, s.Node); err != nil {
			return executor.Result{}, err
		}
	}
	if _, lagged := p.Lane(s.Target); lagged {
		if err := r.settled(s.Target); err != nil {
			return executor.Result{}, err
		}
	}
	evidence := "there was no clone"
	if slot, ok := source.Slot(topology.SlotClone, s.Target, p.Node); ok {
		if err := r.Engine.DropSlot(ctx, s.Node, slot.Name); err != nil {
			return executor.Result{}, err
		}
		evidence = "clone " + slot.Name + " dropped"
	}
	if r.participates(p, s.Target) {
		if err := r.owe(ctx, p, s.Target); err != nil {
			return executor.Result{}, err
		}
		if err := r.Engine.UnmarkGap(ctx, s.Target, p.Node, r.marked(p, s.Target)); err != nil {
			return executor.Result{}, err
		}
		evidence += ", gap mark removed"
		for _, u := range p.Uncompared {
			if u.Node == s.Target {
				evidence += "; NOT COMPARED: " + u.Why + "; run next: " + u.Remedy
			}
		}
	}
	r.mu.Lock()
	l := r.lanes[s.Target]
	r.mu.Unlock()
	if l != nil {
		_ = l.drop(ctx)
	}
	return executor.Result{Evidence: evidence}, nil
}

// marked is how far a mark may reach that this plan has dealt with: to the
// watermark, or to where the mark behind the fences reached that an earlier run
// left, whose source is gone since. A mark that reaches further was made by
// another coordinator.
func (r *Run) marked(p planner.Plan, node string) topology.LSN {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, _ := r.obs.Node(node)
	gap, _ := n.GapOf(p.Node)
	return max(p.Watermark, gap.To)
}

// participates reports whether the plan may act on the node.
func (r *Run) participates(p planner.Plan, node string) bool {
	for _, s := range p.Survivors {
		if s == node {
			return true
		}
	}
	return false
}

// clone reads the lane's clone from the source.
func (r *Run) clone(ctx context.Context, l *lane) (topology.Slot, bool, error) {
	source, err := r.observe(ctx, l.Source)
	if err != nil {
		return topology.Slot{}, false, err
	}
	for _, slot := range source.Slots {
		if slot.Name == l.Clone {
			return slot, true, nil
		}
	}
	return topology.Slot{}, false, nil
}
