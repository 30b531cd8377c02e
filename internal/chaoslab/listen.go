package chaoslab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"healer/api"
	"healer/events"
	"healer/events/natsbus"
)

// listen connects to every agent's NATS server: whichever is killed, the others tell.
func (l *Lab) listen(ctx context.Context) error {
	for _, n := range l.Names() {
		bus, err := natsbus.Dial(l.life, natsbus.DialOptions{ //nolint:contextcheck // it lives as long as the lab
			Cluster: Cluster, Name: "healer chaos", URLs: []string{"nats://" + l.outside[n].NATS}, Fixed: true,
		})
		if err != nil {
			return err
		}
		l.buses[n] = bus
	}
	return ctx.Err()
}

// Follow calls told with each event of these kinds, once, as it happens, until stop is
// called.
func (l *Lab) Follow(kinds string, told func(events.Event)) (stop func(), err error) {
	var mu sync.Mutex
	seen := map[string]bool{}
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for _, b := range l.buses {
		s, err := b.Subscribe(l.life, events.Filter{Kinds: kinds}, func(e events.Event) {
			mu.Lock()
			news := !seen[e.ID]
			seen[e.ID] = true
			mu.Unlock()
			if news {
				told(e)
			}
		})
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, s)
	}
	return stop, nil
}

// Past is all that the stream has, in its order, journal entries among them.
func (l *Lab) Past(ctx context.Context) ([]events.Event, error) {
	var errs []error
	for _, n := range l.Names() {
		if !l.buses[n].Connected() {
			continue
		}
		var all []events.Event
		err := l.buses[n].Past(ctx, events.Filter{Kinds: ">", From: events.FromStart(), InOrder: true}, func(e events.Event) error {
			all = append(all, e)
			return nil
		})
		if err == nil {
			return all, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("the stream of events cannot be read: %w", errors.Join(errs...))
}

// statusLimit bounds one question to an agent.
const statusLimit = 2 * time.Second

// Status asks a node's agent.
func (l *Lab) Status(ctx context.Context, node string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	return api.FetchStatus(ctx, l.client, l.API(node))
}

// Healthy is nil when every agent runs, calls the cluster healthy with a recovery slot
// on each node for each other, and has no event that the stream lacks.
func (l *Lab) Healthy(ctx context.Context) error {
	n := len(l.Names())
	for _, node := range l.Names() {
		if err := l.agents[node].Ended(); err != nil {
			return err
		}
		s, err := l.Status(ctx, node)
		switch {
		case err != nil:
			return fmt.Errorf("the agent of %s: %w", node, err)
		case s.State != api.Healthy:
			return fmt.Errorf("the agent of %s calls the cluster %s: %v %v", node, s.State, s.Reasons, s.Refusals)
		case !s.NATS.StreamReady || s.NATS.OutboxDepth > 0:
			return fmt.Errorf("the agent of %s has %d events that the stream has not", node, s.NATS.OutboxDepth)
		case !l.buses[node].Connected():
			return fmt.Errorf("the NATS server of %s does not answer", node)
		}
		if kept := s.RecoverySlots(); kept != n*(n-1) {
			return fmt.Errorf("the agent of %s sees %d recovery slots of %d", node, kept, n*(n-1))
		}
	}
	return nil
}

// Await asks until cond has nothing to object to; its last objection when ctx ends.
func Await(ctx context.Context, cond func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil { // else it only says that the time was over
			last = err
		}
		select {
		case <-ctx.Done():
			return errors.Join(last, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
