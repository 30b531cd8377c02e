package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"healer/events"
	"healer/events/natsbus/internal/recent"
)

const (
	// seenIDs is how many ids a subscription remembers.
	seenIDs = 16384
	// liveBuffer is how many live events may wait for a slow handler; what
	// does not fit comes from the stream.
	liveBuffer = 4096
	// historyGrace is how long live events wait for the history before them,
	// when the stream does not answer.
	historyGrace = 3 * time.Second
	// flushTimeout bounds the round trip which shows that the server knows of
	// the subscription.
	flushTimeout = 2 * time.Second
)

// Subscribe implements events.Subscriber. Each event comes by two ways: live on
// its subject, and from the stream, which fills in what the first way has
// missed, and the history. When JetStream is not there, only the live way is,
// until JetStream is back. When a history is asked for, live events wait until
// it has been delivered. With InOrder there is only the stream.
//
// It waits for the server and for JetStream, at most a few seconds, so that
// "from now on" means from its return.
func (c *Client) Subscribe(ctx context.Context, f events.Filter, handle func(events.Event)) (func(), error) {
	if err := f.Check(); err != nil {
		return nil, patternFault(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(c.ctx, cancel)
	end := func() { cancel(); unlink() }
	s := &subscription{
		log: c.log, handle: handle, seen: recent.New(seenIDs), filter: f,
		past: make(chan passage), live: make(chan *nats.Msg, liveBuffer),
	}
	h := newHistory(c, f, s.past)
	subject := events.SubjectPrefix(c.cluster) + f.Pattern()
	var sub *nats.Subscription
	if !f.InOrder {
		var err error
		if sub, err = c.nc.ChanSubscribe(subject, s.live); err != nil {
			end()
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
	}
	c.settle(ctx)
	h.begin(ctx)

	var running sync.WaitGroup
	running.Add(2)
	err := c.start(
		func() {
			defer running.Done()
			h.run(ctx)
		},
		func() {
			defer running.Done()
			defer end()
			s.run(ctx)
			if sub != nil {
				// It fails only when the connection is closed, which ends it too.
				_ = sub.Unsubscribe()
			}
		},
	)
	if err != nil {
		end()
		return nil, err
	}
	return func() { end(); running.Wait() }, nil
}

// settle waits until the server knows of the subscription. Without a server
// there is nothing to wait for: the stream will have what is missed.
func (c *Client) settle(ctx context.Context) {
	if !c.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := c.nc.FlushWithContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		c.log.Debug("NATS does not answer a flush", "error", err)
	}
}

// passage is what the history hands over: an event, or the word that there is
// no more of it for now.
type passage struct {
	event    *events.Event
	caughtUp bool
}

// subscription merges the live events and the stream's for one handler.
type subscription struct {
	log    *slog.Logger
	filter events.Filter
	handle func(events.Event)
	seen   *recent.Set
	past   chan passage
	live   chan *nats.Msg
}

// run hands over events until ctx ends.
func (s *subscription) run(ctx context.Context) {
	_, replay := s.filter.From.Replay()
	live := s.live
	if replay {
		live = nil // what comes waits in the channel
	}
	grace := time.NewTimer(historyGrace)
	defer grace.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-grace.C:
			live = s.live
		case p := <-s.past:
			if p.event != nil {
				s.deliver(*p.event)
			}
			if p.caughtUp {
				live = s.live
				grace.Stop()
			} else if live == nil {
				grace.Reset(historyGrace)
			}
		case m := <-live:
			if e, err := events.Decode(m.Data); err == nil {
				s.deliver(e)
			} else {
				s.log.Debug("message is no event", "subject", m.Subject, "error", err)
			}
		}
	}
}

// deliver hands over e unless its id was handed over before.
func (s *subscription) deliver(e events.Event) {
	if s.filter.Matches(e.Kind()) && s.seen.Add(e.ID) {
		s.handle(e)
	}
}
