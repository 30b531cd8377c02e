package steps

import (
	"context"
	"fmt"

	"healer/executor"
	"healer/planner"
	"healer/topology"
)

// checkIdentity is never done before: a returned node is looked at again
// immediately before anything is let in from it.
func (r *Run) checkIdentity(context.Context, planner.Plan, planner.Step) (bool, string, error) {
	return false, "", nil
}

// applyIdentity plans the rejoin once more from a fresh observation. The planner
// refuses by name whatever is wrong with the node. From then on no recovery begins.
func (r *Run) applyIdentity(ctx context.Context, p planner.Plan, _ planner.Step) (executor.Result, error) {
	_, refusal, err := r.Replan(ctx, p)
	if err != nil {
		return executor.Result{}, err
	}
	if refusal != nil {
		return executor.Result{}, notNow(refusal)
	}
	if err := r.hold(ctx, p); err != nil {
		return executor.Result{}, err
	}
	n, err := r.observe(ctx, p.Node)
	if err != nil {
		return executor.Result{}, err
	}
	return executor.Result{
		Evidence: fmt.Sprintf("system identifier %d, timeline %d, log up to %s; the survivors hold it up to %s",
			n.Identity.SystemID, n.Identity.Timeline, n.Flushed, p.Watermark),
	}, nil
}

// notNow is the refusal of a rejoin that has begun. One that passes by itself ends
// the run, and does not wait within it: what comes first, say a recovery that
// another agent left half-done, may be for this very agent to do.
func notNow(r *planner.Refusal) error {
	class := topology.Permanent
	if r.Wait {
		class = topology.Conflict
	}
	return &topology.Fault{Class: class, Code: string(r.Reason), Node: r.Node, Hint: r.Remedy, Err: r}
}

// checkUnfence: no mark is left. What the mark's subscription is like then is
// its owner's business.
func (r *Run) checkUnfence(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	n, err := r.observe(ctx, s.Node)
	if err != nil {
		return false, "", err
	}
	if _, marked := n.FenceOf(p.Node); marked {
		return false, "", nil
	}
	return true, fmt.Sprintf("no fence of %s is left on %s", p.Node, s.Node), nil
}

func (r *Run) applyUnfence(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	n, err := r.observe(ctx, s.Node)
	if err != nil {
		return executor.Result{}, err
	}
	fence, marked := n.FenceOf(p.Node)
	if !marked {
		return executor.Result{Evidence: "there was no fence"}, nil
	}
	if err := r.oweItself(ctx, p, n); err != nil {
		return executor.Result{}, err
	}
	if err := r.Engine.Unfence(ctx, s.Node, fence); err != nil {
		return executor.Result{}, err
	}
	return executor.Result{Evidence: fmt.Sprintf("subscription %s enabled, mark removed", fence.Subscription)}, nil
}

// checkDrain is never done before: that a barrier was passed is not recorded.
func (r *Run) checkDrain(context.Context, planner.Plan, planner.Step) (bool, string, error) {
	return false, "", nil
}

func (r *Run) applyDrain(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	if err := r.drain(ctx, p, s.Node); err != nil {
		return executor.Result{}, err
	}
	return executor.Result{Evidence: fmt.Sprintf("%s and %s have each applied the other", p.Node, s.Node)}, nil
}
