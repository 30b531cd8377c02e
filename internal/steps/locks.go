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

// Waiter tells of a lock that is waited for, and of apply workers that have failed.
// *postgres.Server satisfies it.
type Waiter interface {
	Name() string
	Waiting(ctx context.Context) (*topology.Fault, error)
	ApplyFailures(ctx context.Context) (map[string]int64, error)
}

// WatchLocks tells, until the function it returns is called, of what holds up a run which
// acts on the servers, and by nil that nothing does: each time it has looked, and by nil
// at its end. It is the lock of a stranger, whose session only a person can judge; or an
// apply worker that fails over and over, of which only the server's log says why. What
// waits goes on by itself when that is over.
func WatchLocks(ctx context.Context, servers []Waiter, tell func(*planner.Refusal)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(lockPoll)
		defer tick.Stop()
		fails := failing{}
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			found := heldUp(ctx, servers)
			if failed := fails.look(ctx, servers); found == nil {
				found = failed
			}
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
