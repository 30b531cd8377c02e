package steps

import (
	"context"
	"sync"
	"time"

	"healer/planner"
	"healer/topology"
)

// lockPoll is how often a run asks whether somebody's lock holds it up.
const lockPoll = time.Second

// Waiter tells of a lock that is waited for. *postgres.Server satisfies it.
type Waiter interface {
	Waiting(ctx context.Context) (*topology.Fault, error)
}

// WatchLocks tells, until the function it returns is called, of the lock of a stranger
// that holds up a run which acts on the servers, and by nil that none does: each time it
// has looked, and by nil at its end. What waits goes on by itself when the lock is gone;
// whose it is only a person can judge.
func WatchLocks(ctx context.Context, servers []Waiter, tell func(*planner.Refusal)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(lockPoll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			found := heldUp(ctx, servers)
			if ctx.Err() == nil {
				tell(found)
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
		tell(nil)
	}
}

// heldUp is the first lock that is waited for. A server that does not answer is not what
// this is about.
func heldUp(ctx context.Context, servers []Waiter) *planner.Refusal {
	for _, s := range servers {
		if f, err := s.Waiting(ctx); err == nil && f != nil {
			return locked(f)
		}
	}
	return nil
}
