package steps

import (
	"context"
	"errors"
	"sync"
	"time"

	"healer/planner"
	"healer/rescue"
)

// lookLimit bounds one look at a survivor: one that does not answer is not waited for.
const lookLimit = 3 * time.Second

// freer looks whether apply workers fail while somebody waits for the survivors. It is for
// one wait. When workers of any survivor have failed again since the last look, touched
// rows may be in their way, and those are taken off. What cannot be looked at is looked
// at the next time.
type freer struct {
	r    *Run
	plan planner.Plan
	// failures are those of each survivor at the last look.
	failures map[string]int64
}

func (r *Run) freer(p planner.Plan) *freer {
	return &freer{r: r, plan: p, failures: map[string]int64{}}
}

// look returns how many rows it has tried to take off.
func (f *freer) look(ctx context.Context, touched []*rescue.Touched) (freed int) {
	now := f.r.left(f.plan)
	failing := f.failing(ctx, now.Survivors)
	if len(failing) == 0 {
		return 0
	}
	peers, err := f.r.peers(ctx, now)
	defer closeAll(ctx, peers)
	if err != nil {
		return 0
	}
	resolution, err := f.r.resolution(ctx, now)
	if err != nil {
		return 0
	}
	at := map[string]int{}
	for _, t := range touched {
		tried, ferr := rescue.Free(ctx, peers, failing, t, f.plan.Node, resolution)
		for node, n := range tried {
			at[node] += n
			freed += n
		}
		err = errors.Join(err, ferr)
	}
	if ctx.Err() != nil {
		err = nil // the wait is over
	}
	if freed > 0 || err != nil {
		f.r.Log.Warn("rows kept apply workers from going on, and were taken off until the comparison",
			"failing", failing, "rows", at, "error", err)
	}
	return freed
}

// failing are the survivors whose workers have failed since the last look.
func (f *freer) failing(ctx context.Context, survivors []string) (out []string) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	counts := make([]int64, len(survivors))
	var asking sync.WaitGroup
	for i, node := range survivors {
		asking.Go(func() {
			var err error
			if counts[i], err = f.r.applyFailures(ctx, node); err != nil {
				counts[i] = -1
			}
		})
	}
	asking.Wait()
	for i, node := range survivors {
		if counts[i] < 0 {
			continue
		}
		if before, known := f.failures[node]; known && counts[i] > before {
			out = append(out, node)
		}
		f.failures[node] = counts[i]
	}
	return out
}

// freeing is what a lane does while it waits for all survivors: the worker that fails may
// be of a laggard whose lane has its gap already, and waits for nothing any more.
func (r *Run) freeing(p planner.Plan, own *lane) func(context.Context, *rescue.Touched) {
	f := r.freer(p)
	return func(ctx context.Context, touched *rescue.Touched) {
		// Touched keys are read by one at a time.
		r.free.Lock()
		defer r.free.Unlock()
		all, done := r.carried(own)
		defer done()
		f.look(ctx, append(all, touched))
	}
}

// carried are the touched keys of the other lanes that have their gap, which stay as they
// are until done is called. A lane that is being worked on is looked at the next time.
func (r *Run) carried(besides *lane) (all []*rescue.Touched, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var held []*lane
	for _, l := range r.lanes {
		if l == besides || !l.mu.TryLock() {
			continue
		}
		held = append(held, l)
		if l.touched != nil {
			all = append(all, l.touched)
		}
	}
	return all, func() {
		for _, l := range held {
			l.mu.Unlock()
		}
	}
}

// barrier waits until each survivor has applied what the others had committed, as the
// comparison needs it. A row may come in the way after the gap was carried, too.
// What is taken off meanwhile counts in freed.
func (r *Run) barrier(p planner.Plan, touched []*rescue.Touched, freed *int) rescue.Barrier {
	f := r.freer(p)
	return func(ctx context.Context) error {
		return rescue.Meanwhile(ctx,
			func(ctx context.Context) error { return r.Engine.Barrier(ctx, mutual(p.Survivors)) },
			func(ctx context.Context) { *freed += f.look(ctx, touched) })
	}
}

// applyFailures is how often apply workers of the node have failed.
func (r *Run) applyFailures(ctx context.Context, node string) (all int64, err error) {
	server, err := r.server(node)
	if err != nil {
		return 0, err
	}
	counts, err := server.ApplyFailures(ctx)
	for _, n := range counts {
		all += n
	}
	return all, err
}
