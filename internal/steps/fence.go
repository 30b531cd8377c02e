package steps

import (
	"context"
	"fmt"
	"time"

	"healer/executor"
	"healer/planner"
)

// checkFence: the subscription is disabled, its worker is gone, and the mark is
// there. One that a stranger disabled carries no mark and is left to Apply,
// which leaves it alone too.
func (r *Run) checkFence(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	n, err := r.observe(ctx, s.Node)
	if err != nil {
		return false, "", err
	}
	sub, err := reading(n, p.Node)
	if err != nil {
		return false, "", err
	}
	fence, marked := n.FenceOf(p.Node)
	if !marked || sub.Enabled || sub.Worker != "none" {
		return false, "", nil
	}
	return true, fmt.Sprintf("subscription %s is disabled at %s, marked %s", sub.Name, sub.Progress, fence.Mark), nil
}

func (r *Run) applyFence(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	n, err := r.observe(ctx, s.Node)
	if err != nil {
		return executor.Result{}, err
	}
	sub, err := reading(n, p.Node)
	if err != nil {
		return executor.Result{}, err
	}
	began := time.Now()
	worker, err := r.Engine.Drain(ctx, s.Node, sub, r.DrainLimit)
	if err != nil {
		return executor.Result{}, err
	}
	drained := time.Since(began)
	fence, err := r.Engine.Fence(ctx, s.Node, sub, r.Trigger().Memory.Identity)
	if err != nil {
		return executor.Result{}, err
	}
	return executor.Result{
		Evidence: fmt.Sprintf("worker %s after %s; subscription %s disabled, marked %q",
			worker, drained.Round(time.Millisecond), sub.Name, fence.Mark),
		Figures: map[string]int64{"drain_ms": drained.Milliseconds()},
	}, nil
}
