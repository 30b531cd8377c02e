package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"healer/control"
	"healer/detector"
	"healer/executor"
	"healer/internal/steps"
	"healer/planner"
	"healer/topology"
)

// policyFor is what the operators allow for a node now. A recovery that has carried
// something is under way, and a pause lets it finish.
func (a *Agent) policyFor(node string, obs topology.Observation) planner.Policy {
	now := time.Now()
	_, all := a.control.Get(control.Pause, "", now)
	_, one := a.control.Get(control.Pause, node, now)
	pol := a.policy()
	pol.Paused = (all || one) && !marked(obs, node, false)
	pol.Cancelled = a.cancelled(node)
	return pol
}

// begunPolicy is what a run goes by that was allowed to begin: what is said
// meanwhile is for the next one. A cancellation ends the run itself.
func (a *Agent) begunPolicy(p planner.Plan) planner.Policy {
	pol := a.policy()
	pol.Maintenance, pol.Approved = nil, []string{p.ID}
	pol.Cancelled = p.Kind == planner.Rejoin && a.cancelled(p.Node)
	return pol
}

// marked reports whether a survivor has an open gap of the node; with fences also
// whether one is fenced off from it.
func marked(obs topology.Observation, node string, fences bool) bool {
	for _, n := range obs.Nodes {
		_, gap := n.GapOf(node)
		_, fence := n.FenceOf(node)
		if gap || (fences && fence) {
			return true
		}
	}
	return false
}

// plan plans for the trigger, in the mode advise with what an operator approved.
// What was approved is a shape; a plan that has begun is finished whatever it has
// become.
func (a *Agent) plan(
	ctx context.Context, t planner.Trigger, obs topology.Observation, pol planner.Policy,
) (planner.Plan, *planner.Refusal, error) {
	p, refusal, err := a.makePlan(ctx, t, obs, pol)
	if err != nil || refusal == nil || refusal.Reason != planner.ModeAdvises {
		return p, refusal, err
	}
	shapes := a.approved(p.ID)
	switch {
	case len(shapes) == 0:
		return p, refusal, nil
	case shapes[p.Shape()], marked(obs, p.Node, true):
		pol.Approved = []string{p.ID}
		return a.makePlan(ctx, t, obs, pol)
	default:
		refusal.Why += "; it was approved when it was another plan, and is made anew: " + summary(p)
		return p, refusal, nil
	}
}

// makePlan asks the planner. Before the fences a plan is an estimate, and nothing
// is read for it that could delay them.
func (a *Agent) makePlan(
	ctx context.Context, t planner.Trigger, obs topology.Observation, pol planner.Policy,
) (planner.Plan, *planner.Refusal, error) {
	p, refusal := planner.Make(t, obs, pol)
	if !p.Fenced {
		return p, refusal, nil
	}
	return steps.Plan(ctx, a.engine, t, obs, pol)
}

// approved are the shapes of a plan that operators have approved.
func (a *Agent) approved(id string) map[string]bool {
	shapes := map[string]bool{}
	for _, e := range a.control.Active(time.Now()) {
		if p := control.PlanOf(e.Subject); e.Kind == control.Approval && p.ID == id {
			shapes[p.Shape] = true
		}
	}
	return shapes
}

// summary says in one line what a plan is to do.
func summary(p planner.Plan) string {
	var parts []string
	for _, l := range p.Lanes {
		parts = append(parts, fmt.Sprintf("%s gets (%s, %s] of %s from %s", l.Target, l.From, l.To, p.Node, l.Source))
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, ", ")
	case p.Kind == planner.Rejoin:
		return fmt.Sprintf("%s let %s in again", strings.Join(p.Survivors, ", "), p.Node)
	default:
		return fmt.Sprintf("%s are fenced off from %s, and compared", strings.Join(p.Survivors, ", "), p.Node)
	}
}

// cancelled reports whether an operator has cancelled the node's recovery.
func (a *Agent) cancelled(node string) bool { return len(a.cancellations(node)) > 0 }

func (a *Agent) cancellations(node string) []control.Entry {
	var out []control.Entry
	for _, e := range a.control.Active(time.Now()) {
		if e.Kind == control.Cancellation && control.PlanOf(e.Subject).Node == node {
			out = append(out, e)
		}
	}
	return out
}

// closeCancellations ends those of nodes that take part again: their next loss is
// another matter.
func (a *Agent) closeCancellations(s situation) {
	for _, e := range a.control.Active(time.Now()) {
		node := control.PlanOf(e.Subject).Node
		if e.Kind != control.Cancellation || s.life(node) != detector.LifeUp || !s.readable() || s.fenced(node) {
			continue
		}
		e.Ended, e.By, e.Reason = true, "healer", node+" takes part again"
		if _, err := a.control.Set(e, time.Now()); err != nil {
			a.log.Warn("a cancellation is not ended", "node", node, "error", err)
		}
	}
}

// active is the run under way, for whoever has to end it.
type active struct {
	mu   sync.Mutex
	plan planner.Plan
	stop context.CancelCauseFunc
}

func (r *active) begin(ctx context.Context, p planner.Plan) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	r.plan, r.stop = p, cancel
	r.mu.Unlock()
	return ctx, func() {
		cancel(nil)
		r.mu.Lock()
		r.stop = nil
		r.mu.Unlock()
	}
}

// cancel ends the recovery of a node if it is under way here. Taking a node back
// is not cancelled with it.
func (r *active) cancel(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil && r.plan.Node == node && r.plan.Kind == planner.Recovery {
		r.stop(executor.ErrCancelled)
	}
}

// next are the lost nodes that a recovery of their own is about to fence the survivors
// off from: allowed, not refused, and not one that has just failed. What waits for them
// must not wait for ever.
func (a *Agent) next() []string {
	obs := a.view.observation()
	return following(a.triggers(), func(t planner.Trigger) bool {
		return mayBegin(a.cfg.Cluster, t, a.policyFor(t.Node, obs), a.view, a.attempts)
	})
}

// mayBegin reports whether nothing stands against what a trigger asks for.
func mayBegin(cluster string, t planner.Trigger, pol planner.Policy, v *view, tries *attempts) bool {
	return permitted(pol, t.Node) && !v.refuses(t.Node) && !tries.failing(t.PlanID(cluster))
}

// following are the nodes of the recoveries among the triggers that may begin.
func following(triggers []planner.Trigger, may func(planner.Trigger) bool) (nodes []string) {
	for _, t := range triggers {
		if t.Kind == planner.Recovery && may(t) {
			nodes = append(nodes, t.Node)
		}
	}
	return nodes
}

// permitted reports whether nothing that an operator said stands against a recovery.
func permitted(pol planner.Policy, node string) bool {
	return pol.Mode == planner.ModeAuto && !pol.Paused && !pol.Cancelled && !slices.Contains(pol.Maintenance, node)
}
