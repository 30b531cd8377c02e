package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/events/natsbus/internal/recent"
	"healer/topology"
)

// silence is for how long Past waits for a stream that gives it nothing.
const silence = 10 * time.Second

// Past hands over what the stream holds of the events that f selects, oldest first
// and no id twice, and returns when there is no more; of a Filter that begins now
// there is nothing. It ends with the first error of handle, which may take its
// time. That there is no stream, or that it gives no answer, is a Fault.
func (c *Client) Past(ctx context.Context, f events.Filter, handle func(events.Event) error) error {
	if err := f.Check(); err != nil {
		return patternFault(err)
	}
	if _, replay := f.From.Replay(); !replay {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	past, failed := make(chan passage), make(chan error)
	h := newHistory(c, f, past)
	h.failed = func(err error) {
		select {
		case failed <- err:
		case <-ctx.Done():
		}
	}
	ended := make(chan struct{})
	if err := c.start(func() { defer close(ended); h.run(ctx) }); err != nil {
		return err
	}
	err := (&passing{stream: h.stream, filter: f, handle: handle, seen: recent.New(seenIDs)}).run(ctx, past, failed)
	cancel()
	<-ended
	return err
}

// passing hands on one history.
type passing struct {
	stream string
	filter events.Filter
	handle func(events.Event) error
	seen   *recent.Set
}

func (p *passing) run(ctx context.Context, past <-chan passage, failed <-chan error) error {
	idle := time.NewTimer(silence)
	defer idle.Stop()
	last := errors.New("it does not answer")
	for {
		select {
		case m := <-past:
			if e := m.event; e != nil && p.filter.Matches(e.Kind()) && p.seen.Add(e.ID) {
				if err := p.handle(*e); err != nil {
					return err
				}
			}
			if m.caughtUp {
				return nil
			}
			idle.Reset(silence)
		case last = <-failed:
			if errors.Is(last, jetstream.ErrStreamNotFound) {
				return &topology.Fault{
					Code: "stream_missing", Hint: "start an agent of the cluster: it makes the stream",
					Err: fmt.Errorf("NATS has no stream %s", p.stream),
				}
			}
		case <-idle.C:
			return &topology.Fault{
				Class: topology.Transient, Code: "stream_silent", Hint: "see `healer status` for what NATS lacks",
				Err: fmt.Errorf("stream %s cannot be read: %w", p.stream, explain(last)),
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func patternFault(err error) error {
	return &topology.Fault{Code: "event_pattern", Hint: `such as "recovery.*" or ">"`, Err: err}
}
