package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
)

const (
	// heartbeat is how often JetStream shows that a consumer lives; two
	// missed ones make a new consumer.
	heartbeat = time.Second
	// pullExpiry is how long one request for messages stands.
	pullExpiry = 10 * time.Second
	// pullBatch is how many messages are asked for at a time.
	pullBatch = 256
	// mostMissed is how many messages are read singly.
	mostMissed = 64
	// consumerExpiry is when JetStream drops a consumer that nobody reads.
	consumerExpiry = 30 * time.Second
)

// history reads the stream in order, without a gap and without a repetition. It
// uses consumers that nothing depends on: when one fails, the next begins after
// the last message read.
type history struct {
	js     jetstream.JetStream
	client *Client
	stream string
	config jetstream.ConsumerConfig
	log    *slog.Logger
	out    chan<- passage
	// failed is told why reading has to begin anew; nil tells nobody.
	failed func(error)
	// fromNow asks begin for the stream's end.
	fromNow bool

	// next is the stream sequence to read next; 0 while none is known, when
	// config says where to begin.
	next uint64
	// created tells a stream from another of the same name.
	created time.Time
}

func newHistory(c *Client, f events.Filter, out chan<- passage) *history {
	h := &history{
		js: c.js, client: c, stream: events.Stream(c.cluster), log: c.log, out: out,
		config: jetstream.ConsumerConfig{
			FilterSubject: events.SubjectPrefix(c.cluster) + f.Pattern(),
			AckPolicy:     jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
			InactiveThreshold: consumerExpiry,
		},
	}
	since, replay := f.From.Replay()
	switch {
	case replay && since.IsZero():
		h.next = 1
	case replay:
		h.config.DeliverPolicy, h.config.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	default:
		// The time is what is left when begin gets no answer.
		now := time.Now()
		h.fromNow = true
		h.config.DeliverPolicy, h.config.OptStartTime = jetstream.DeliverByStartTimePolicy, &now
	}
	return h
}

// begin pins "from now on" to a position of the stream, if the stream answers.
func (h *history) begin(ctx context.Context) {
	if !h.fromNow {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	st, err := h.js.Stream(ctx, h.stream)
	switch {
	case err == nil:
		info := st.CachedInfo()
		h.created, h.next = info.Created, info.State.LastSeq+1
	case errors.Is(err, jetstream.ErrStreamNotFound):
		h.next = 1 // all that it will ever have is still to come
	}
}

// run reads until ctx ends.
func (h *history) run(ctx context.Context) {
	wait := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.2, Multiplier: 2, MaxInterval: 2 * time.Second}
	for ctx.Err() == nil {
		began, elsewhere := time.Now(), h.client.nextConnection()
		err := h.connected(ctx, elsewhere)
		if time.Since(began) > 2*apiTimeout {
			wait.Reset()
		}
		if ctx.Err() != nil {
			return
		}
		if h.failed != nil {
			h.failed(err)
		}
		h.log.Debug("reading the stream begins anew", "stream", h.stream, "next", h.next, "error", err)
		select {
		case <-ctx.Done():
		case <-elsewhere:
			wait.Reset()
		case <-time.After(wait.NextBackOff()):
		}
	}
}

// connected reads until that fails or there is another connection: the consumer
// may have died with the server, and its silence would show only seconds later.
func (h *history) connected(ctx context.Context, elsewhere <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-elsewhere:
			cancel()
		case <-ctx.Done():
		}
	}()
	return h.session(ctx)
}

// session reads through one consumer until that fails.
func (h *history) session(ctx context.Context) error {
	st, err := h.open(ctx)
	if err != nil {
		return err
	}
	if err := h.missed(ctx, st); err != nil {
		return err
	}
	cons, err := h.consumer(ctx, st)
	if err != nil {
		return err
	}
	if cons.CachedInfo().NumPending == 0 {
		if err := h.hand(ctx, passage{caughtUp: true}); err != nil {
			return err
		}
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(pullBatch), jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return err
	}
	defer it.Stop()
	for want := uint64(1); ; want++ {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != want {
			return fmt.Errorf("message %d of the consumer came instead of %d", meta.Sequence.Consumer, want)
		}
		if err := h.hand(ctx, h.passage(m.Data(), meta.Sequence.Stream, meta.NumPending == 0)); err != nil {
			return err
		}
		h.next = meta.Sequence.Stream + 1
	}
}

// missed reads what came while there was no consumer, one message after the
// other. A consumer does that better, but to make one takes JetStream's leader,
// which is what may be missing just now, and to read a message does not.
func (h *history) missed(ctx context.Context, st jetstream.Stream) error {
	for range mostMissed {
		if h.next == 0 {
			return nil
		}
		look, cancel := context.WithTimeout(ctx, lookTimeout)
		m, err := st.GetMsg(look, h.next, jetstream.WithGetMsgSubject(h.config.FilterSubject))
		cancel()
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil
		case err != nil:
			return err
		}
		if err := h.hand(ctx, h.passage(m.Data, m.Sequence, false)); err != nil {
			return err
		}
		h.next = m.Sequence + 1
	}
	return nil
}

// open finds the stream.
func (h *history) open(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	st, err := h.js.Stream(ctx, h.stream)
	if err != nil {
		return nil, err
	}
	info := st.CachedInfo()
	if !h.created.IsZero() && !h.created.Equal(info.Created) {
		// The stream was lost and made anew: its numbers begin again.
		h.next = 1
	}
	h.created = info.Created
	return st, nil
}

// consumer makes a consumer that begins where the last one ended.
func (h *history) consumer(ctx context.Context, st jetstream.Stream) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	cfg := h.config
	if h.next > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartSequencePolicy, h.next, nil
	}
	return st.CreateConsumer(ctx, cfg)
}

// passage decodes a message. One that is no event still says whether the end
// was reached.
func (h *history) passage(data []byte, sequence uint64, last bool) passage {
	p := passage{caughtUp: last}
	if e, err := events.Decode(data); err == nil {
		p.event = &e
	} else {
		h.log.Debug("message in the stream is no event", "sequence", sequence, "error", err)
	}
	return p
}

// hand gives p to the subscription.
func (h *history) hand(ctx context.Context, p passage) error {
	select {
	case h.out <- p:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), context.Cause(ctx))
	}
}
