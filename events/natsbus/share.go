package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/topology"
)

// mostShared is how many events of one sharing may be under way or wait for their
// next try, in the whole cluster.
const mostShared = 256

// lateness is what a try may take beyond twice its limit, to end and to say so.
const lateness = 2 * time.Second

// Sharing divides events among the clients that share them.
type Sharing struct {
	// Name tells one sharing of the cluster from another: letters, digits, - and
	// _. Who shares under one name agrees in all the rest.
	Name string
	// Kinds is a pattern as in events.Filter.
	Kinds string
	// Limit bounds one try. A client that has said nothing long after that is taken
	// for dead, and another tries.
	Limit time.Duration
	// Tries is how often an event is tried.
	Tries int
	// Parallel is how many are tried at once by this client.
	Parallel int
}

// Share hands each event to one of the clients that share a name, until it was
// handled: at least once, and once as long as nobody dies or is cut off in the
// middle. NATS keeps how far they are, so that what happens while none of them is
// there waits for the first one. It begins with what is stored from the first call
// for that name on.
//
// An error of handle has the event tried again, here or elsewhere, after a pause
// that grows. Try counts from 1; what fails Tries times is given up. Handle is
// called by up to Parallel goroutines. Events are divided by JetStream: while it
// has no leader they wait. Stop ends the context of those under way, which are
// then tried elsewhere, and waits for them.
func (c *Client) Share(ctx context.Context, o Sharing, handle func(ctx context.Context, e events.Event, try int) error) (stop func(), err error) {
	f := events.Filter{Kinds: o.Kinds}
	if err := f.Check(); err != nil {
		return nil, patternFault(err)
	}
	if err := events.CheckCluster(o.Name); err != nil || o.Limit <= 0 || o.Tries < 1 || o.Parallel < 1 {
		return nil, &topology.Fault{Code: "nats_options", Err: fmt.Errorf("a sharing needs a name, a limit, tries and room: %+v", o)}
	}
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(c.ctx, cancel)
	end := func() { cancel(); unlink() }
	s := &sharing{
		Sharing: o, client: c, stream: events.Stream(c.cluster), handle: handle, slots: make(chan struct{}, o.Parallel),
		log: c.log.With("sharing", o.Name), since: time.Now(), subject: events.SubjectPrefix(c.cluster) + f.Pattern(),
	}
	var running sync.WaitGroup
	running.Add(1)
	if err := c.start(func() { defer running.Done(); defer end(); s.run(ctx) }); err != nil {
		end()
		return nil, err
	}
	return func() { end(); running.Wait() }, nil
}

// sharing takes part in one sharing.
type sharing struct {
	Sharing
	client          *Client
	stream, subject string
	handle          func(context.Context, events.Event, int) error
	// slots has a place for each try under way.
	slots chan struct{}
	since time.Time
	log   *slog.Logger
}

// run takes part until ctx ends, and waits for what is under way.
func (s *sharing) run(ctx context.Context) {
	var tries sync.WaitGroup
	defer tries.Wait()
	wait := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.2, Multiplier: 2, MaxInterval: 2 * time.Second}
	for ctx.Err() == nil {
		began, elsewhere := time.Now(), s.client.nextConnection()
		err := s.session(ctx, &tries)
		if time.Since(began) > 2*apiTimeout {
			wait.Reset()
		}
		s.log.Debug("taking events begins anew", "error", err)
		select {
		case <-ctx.Done():
		case <-elsewhere:
			wait.Reset()
		case <-time.After(wait.NextBackOff()):
		}
	}
}

// session takes one event after the other, each when there is room for it, until
// that fails: what is taken and only waits here, nobody else could try.
func (s *sharing) session(ctx context.Context, tries *sync.WaitGroup) error {
	cons, err := s.consumer(ctx)
	if err != nil {
		return err
	}
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		m, err := s.next(ctx, cons)
		if err != nil || m == nil {
			<-s.slots
			if err != nil {
				return err
			}
			continue
		}
		tries.Go(func() {
			defer func() { <-s.slots }()
			s.try(ctx, m)
		})
	}
}

// next waits for an event for a while; it returns none when there was none.
func (s *sharing) next(ctx context.Context, cons jetstream.Consumer) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, pullExpiry)
	defer cancel()
	m, err := cons.Next(jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(heartbeat))
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return m, err
}

// consumer finds what keeps how far the sharing is, or makes it.
func (s *sharing) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	cons, err := s.client.js.Consumer(ctx, s.stream, s.Name)
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return cons, err
	}
	cons, err = s.client.js.CreateConsumer(ctx, s.stream, jetstream.ConsumerConfig{
		Durable: s.Name, FilterSubject: s.subject, AckPolicy: jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &s.since,
		AckWait: 2*s.Limit + lateness, MaxAckPending: mostShared,
		// What nobody shares any more is forgotten when its events are.
		InactiveThreshold: streamMaxAge,
	})
	if errors.Is(err, jetstream.ErrConsumerExists) {
		return s.client.js.Consumer(ctx, s.stream, s.Name) // another was faster
	}
	return cons, err
}

// try has an event handled, and tells NATS what came of it.
func (s *sharing) try(ctx context.Context, m jetstream.Msg) {
	e, err := events.Decode(m.Data())
	meta, merr := m.Metadata()
	if err = errors.Join(err, merr); err != nil {
		s.settle("an event that cannot be read is passed over", m.Term(), "reason", err)
		return
	}
	n := int(min(meta.NumDelivered, 1<<30))
	if n > s.Tries {
		// The last try ended with the agent that made it.
		s.settle("an event is given up", m.Term(), "id", e.ID)
		return
	}
	limited, cancel := context.WithTimeout(ctx, s.Limit)
	err = s.handle(limited, e, n)
	cancel()
	switch {
	case err == nil:
		s.done(m, e)
	case ctx.Err() != nil:
		s.settle("an event is left to others", m.Nak(), "id", e.ID)
	case n == s.Tries:
		s.settle("an event is given up", m.Term(), "id", e.ID)
	default:
		s.settle("an event is tried again", m.NakWithDelay(pause(n)), "id", e.ID)
	}
}

// done makes sure that NATS knows: else the event would be handled again.
func (s *sharing) done(m jetstream.Msg, e events.Event) {
	// It is done, also when the client is being closed just now.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.client.ctx), lookTimeout)
	defer cancel()
	s.settle("an event is done", m.DoubleAck(ctx), "id", e.ID)
}

// settle logs what NATS was told, or that it could not be.
func (s *sharing) settle(what string, err error, args ...any) {
	if err != nil {
		s.log.Warn("NATS was not told, and the event may come again: "+what, append(args, "error", err)...)
		return
	}
	s.log.Debug(what, args...)
}

// pause is how long the event rests after the given try failed: a second, then
// twice as long each time, up to a minute.
func pause(try int) (d time.Duration) {
	b := &backoff.ExponentialBackOff{InitialInterval: time.Second, RandomizationFactor: 0.2, Multiplier: 2, MaxInterval: time.Minute}
	for range try {
		d = b.NextBackOff()
	}
	return d
}
