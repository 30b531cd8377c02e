package app

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"healer/detector"
	"healer/postgres"
	"healer/topology"
)

// observe reads the mesh for whoever wants to see it. A server that hangs would hold that
// up for seconds: when one is judged failed meanwhile, all is read anew, without it.
func (a *Agent) observe(ctx context.Context) (obs topology.Observation) {
	for again := true; again; again = again && ctx.Err() == nil {
		lost := failed(a.detector.Verdicts())
		obs, again = unlessLost(ctx, lost, a.detector.Watch, func(ctx context.Context) topology.Observation {
			return a.engine.ObserveAll(ctx, lost...)
		})
	}
	if ctx.Err() == nil {
		now := time.Now()
		a.lags.see(obs, now)
		a.view.observed(obs, now)
	}
	if own, ok := obs.Node(a.node); ok {
		a.memory.ends.readOwn(a.node, own, time.Now())
	}
	return obs
}

// unlessLost reads, and gives that up when a node is judged failed that is not among
// those known to be lost. It reports whether one was.
func unlessLost(ctx context.Context, lost []string, watch func(context.Context) <-chan detector.Verdict, read func(context.Context) topology.Observation) (topology.Observation, bool) {
	limited, giveUp := context.WithCancelCause(ctx)
	var late atomic.Bool
	var watching sync.WaitGroup
	verdicts := watch(limited)
	watching.Go(func() {
		for v := range verdicts {
			if v.Life == detector.LifeFailed && !slices.Contains(lost, v.Node) {
				late.Store(true)
				giveUp(postgres.ErrUnwanted)
			}
		}
	})
	obs := read(limited)
	giveUp(nil)
	watching.Wait()
	return obs, late.Load()
}
