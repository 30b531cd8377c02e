package steps

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"healer/executor"
	"healer/planner"
	"healer/topology"
)

// lostPoll is how often a wait for all survivors asks whether one of them is lost.
const lostPoll = 200 * time.Millisecond

// left is the plan with those survivors that are not lost by now. A lane that is
// under way goes on when another survivor is lost: what the others have and lack of
// that one is for its own recovery, which comes next.
func (r *Run) left(p planner.Plan) planner.Plan {
	lost := r.Trigger().Lost
	p.Survivors = slices.DeleteFunc(slices.Clone(p.Survivors), func(n string) bool { return slices.Contains(lost, n) })
	return p
}

// settle waits until each survivor has applied what the others had committed, and
// returns the end of the source's log then. One that is lost meanwhile sends and
// applies nothing any more: the wait begins anew without it.
func (r *Run) settle(ctx context.Context, p planner.Plan, source string) (topology.LSN, error) {
	for {
		now := r.left(p)
		waiting, end := executor.UntilLost(ctx, lostPoll, func() error { return r.anyLost(now.Survivors) })
		err := r.Engine.Barrier(waiting, mutual(now.Survivors))
		again := waiting.Err() != nil && ctx.Err() == nil
		end()
		switch {
		case err == nil:
			r.leaveOut(p, now)
			return r.Engine.Flush(ctx, source)
		case !again:
			return 0, err
		}
	}
}

// anyLost objects when one of the nodes is judged lost.
func (r *Run) anyLost(nodes []string) error {
	for _, n := range r.Trigger().Lost {
		if slices.Contains(nodes, n) {
			return topology.Faultf(topology.Transient, executor.CodeNodeLost, "%s is judged lost", n)
		}
	}
	return nil
}

// leaveOut remembers the survivors that a lane did not wait for.
func (r *Run) leaveOut(all, waited planner.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range all.Survivors {
		if !slices.Contains(waited.Survivors, n) {
			r.without[n] = true
		}
	}
}

// settled objects to the end of a recovery of which a survivor was left out: it may
// live, and what it had committed may then reach some and not others, who received and
// skipped it while they lacked the rows. The mark stays, and the planner decides with
// what is known then.
func (r *Run) settled(node string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.without) == 0 {
		return nil
	}
	return &topology.Fault{
		Class: topology.Transient, Code: executor.CodeNodeLost, Node: node,
		Hint: "nothing to do: the rows are compared once more when it is fenced off, or lives",
		Err:  fmt.Errorf("%s was judged lost while the gap was carried: the gap stays marked", strings.Join(slices.Sorted(maps.Keys(r.without)), ", ")),
	}
}

// complete objects to a comparison when a survivor that was left out takes part in
// it, or lives after all: what was on its way from it was not waited for.
func (r *Run) complete(p planner.Plan) error {
	lost := r.Trigger().Lost
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.without {
		if slices.Contains(p.Survivors, n) || !slices.Contains(lost, n) {
			return topology.Faultf(topology.Transient, executor.CodeNodeLost, "%s was judged lost while the gap was carried", n)
		}
	}
	return nil
}
