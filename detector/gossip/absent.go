package gossip

import (
	"context"
	"errors"
	"sync"
	"time"

	"healer/detector"
)

// quietFor is how long a member may say nothing to this one before it is asked, over a
// connection, whether it is there: twice the interval at which agents repeat their
// evidence by default. Whoever repeats it less often is asked more often, and no more.
const quietFor = 400 * time.Millisecond

// seekAbsent asks those that have fallen silent, until ctx ends. An agent that was
// killed is gone as soon as its host says that nobody listens there; memberlist needs
// longer, because it has to tell a death from lost packets. A host that says nothing
// leaves it to memberlist.
func (g *Gossip) seekAbsent(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, name := range g.roster.quiet(g.present(), now, quietFor) {
				asking.Go(func() { g.seek(ctx, name) })
			}
		}
	}
}

func (g *Gossip) seek(ctx context.Context, name string) {
	asked := time.Now()
	err := g.Tell(ctx, name, nil)
	if errors.Is(err, detector.ErrAgentGone) && g.roster.gone(name, asked) {
		g.log.Info("agent is gone: nobody listens at its address", "member", name)
		g.in.AgentsChanged()
	}
}
