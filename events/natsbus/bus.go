package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"healer/events"
	"healer/events/natsbus/internal/outbox"
	"healer/topology"
)

// DuplicateWindow is for how long the stream remembers the ids of its events.
// An agent that was cut off for longer may put an event into the stream again
// which another agent had put there; subscriptions then drop it by its id.
const DuplicateWindow = 24 * time.Hour

// Options describes an agent's bus.
type Options struct {
	DialOptions
	// Agent is the name of the node whose agent this is.
	Agent string
	// Replicas is how many servers shall keep the stream: min(3, nodes).
	Replicas int
	// Dir is the directory of the outbox; it is made if missing. One process
	// at a time can have it open.
	Dir string
	// MaxEvents and MaxBytes bound the outbox. Zero means 100 000 events and
	// 64 MiB.
	MaxEvents int
	MaxBytes  int64
}

// Bus publishes an agent's events and, as a Client, subscribes to all agents'.
// It implements events.Publisher and events.Subscriber.
type Bus struct {
	*Client
	box    *outbox.Box
	stream *stream
	sender *sender
	log    *slog.Logger

	refused atomic.Uint64
	full    atomic.Bool // the last Publish was refused

	stop context.CancelFunc
	done sync.WaitGroup
	// once makes the second Close return what the first did.
	once     sync.Once
	closeErr error
}

// Status is the state of the bus, for an operator.
type Status struct {
	// Connected is whether a NATS server is connected, URL which.
	Connected bool   `json:"connected"`
	URL       string `json:"url,omitempty"`
	// Stream is the stream's name. StreamReady is whether it was last found
	// to have a leader, Replicas how many servers keep it.
	Stream      string `json:"stream"`
	StreamReady bool   `json:"stream_ready"`
	Replicas    int    `json:"replicas"`
	// Pending is how many events the stream has not acknowledged yet,
	// PendingBytes their size, OldestPending when the first was published.
	Pending       int       `json:"pending"`
	PendingBytes  int64     `json:"pending_bytes"`
	OldestPending time.Time `json:"oldest_pending,omitzero"`
	// Refused is how many events Publish has refused since the start,
	// because the outbox was full or could not be written.
	Refused uint64 `json:"refused"`
	// Problem is what stands in the way now; empty when nothing does.
	Problem string `json:"problem,omitempty"`
}

// Connect opens the outbox and connects to NATS. Like Dial it does not fail
// when no server answers; it fails when the outbox cannot be used. What an
// earlier process left in the outbox is sent first.
func Connect(ctx context.Context, o Options) (*Bus, error) {
	log := orDiscard(o.Log).With("component", "events")
	if o.Name == "" {
		o.Name = "healer-" + o.Agent
	}
	if o.Dir == "" || o.Replicas < 1 {
		return nil, &topology.Fault{Code: "nats_options", Node: o.Agent, Err: errors.New("the bus needs a directory and at least one replica")}
	}
	box, err := outbox.Open(o.Dir, outbox.Limits{Messages: o.MaxEvents, Bytes: o.MaxBytes}, log)
	if err != nil {
		return nil, openFault(o, err)
	}
	again, look := make(chan struct{}, 1), make(chan struct{}, 1)
	client, err := dial(ctx, o.DialOptions, func() { poke(look); poke(again) })
	if err != nil {
		return nil, errors.Join(err, box.Close())
	}
	b := &Bus{Client: client, box: box, log: log}
	b.stream = newStream(client, o.Replicas, look, again)
	if b.sender, err = newSender(client, box, b.stream, again); err != nil {
		client.Close()
		return nil, errors.Join(err, box.Close())
	}
	ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	b.done.Go(func() { b.stream.keep(ctx) })
	b.done.Go(func() { b.sender.run(ctx) })
	return b, nil
}

func openFault(o Options, err error) error {
	hint := "make " + o.Dir + " a directory that the agent's user may write"
	if errors.Is(err, outbox.ErrLocked) {
		hint = "stop the other agent, or give this one its own data directory"
	}
	return &topology.Fault{Code: "outbox_open", Node: o.Agent, Hint: hint, Err: err}
}

// Publish implements events.Publisher; the package's documentation says what
// holds when it returns. It refuses an event of another cluster and one that
// Decode would not read. When the outbox is full or its disk is, it returns a
// transient Fault, outbox_full or outbox_write, and still sends the event once,
// if a server is connected: listeners may get it, but nothing repeats it.
func (b *Bus) Publish(e events.Event) error {
	raw, err := e.Encode()
	if err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	if len(raw) > events.MaxBytes {
		return fmt.Errorf("event %s is %d bytes: at most %d are allowed", e.Kind(), len(raw), events.MaxBytes)
	}
	if _, err := events.Decode(raw); err != nil {
		return err
	}
	if e.Cluster != b.cluster {
		return fmt.Errorf("event of cluster %q on the bus of cluster %q", e.Cluster, b.cluster)
	}
	m := outbox.Message{ID: e.ID, Subject: events.Subject(e.Cluster, e.Kind()), At: time.Now(), Body: raw}
	if _, err = b.box.Append(m); err != nil {
		return b.refuse(m, err)
	}
	if b.full.Swap(false) {
		b.log.Info("events are kept again", "refused", b.refused.Load())
	}
	return nil
}

// refuse makes the Fault of an event that could not be kept.
func (b *Bus) refuse(m outbox.Message, err error) error {
	if errors.Is(err, outbox.ErrClosed) {
		return &topology.Fault{Code: "bus_closed", Err: err}
	}
	f := &topology.Fault{Class: topology.Transient, Code: "outbox_write", Hint: "free the disk of the agent's data directory", Err: err}
	if errors.Is(err, outbox.ErrFull) {
		f.Code, f.Hint = "outbox_full", "bring NATS back: `healer status` shows what is missing"
	}
	b.refused.Add(1)
	b.sender.sendUnkept(m)
	if !b.full.Swap(true) {
		b.log.Error("event is not kept; the next ones will not be either until this is mended",
			"id", m.ID, "subject", m.Subject, "error", f)
	}
	return f
}

// Status reports how the bus is. It does not wait for NATS.
func (b *Bus) Status() Status {
	box := b.box.Stats()
	ready, replicas, problem := b.stream.state()
	s := Status{
		Connected: b.Connected(), Stream: events.Stream(b.cluster), StreamReady: ready, Replicas: replicas,
		Pending: box.Pending, PendingBytes: box.Bytes, OldestPending: box.Oldest, Refused: b.refused.Load(),
	}
	switch {
	case box.SyncError != nil:
		s.Problem = "outbox: " + box.SyncError.Error()
	case !s.Connected:
		s.Problem = "not connected to NATS"
		if err := b.trouble(); err != nil {
			s.Problem += ": " + err.Error()
		}
	default:
		s.Problem = problem
	}
	if s.Connected {
		s.URL = b.nc.ConnectedUrlRedacted()
	}
	s.StreamReady = s.StreamReady && s.Connected
	return s
}

// Close stops the bus. Until ctx ends it waits for the stream to acknowledge
// what was published; what is left stays in the outbox, for the next Connect.
// It returns an error when the outbox could not be closed cleanly.
func (b *Bus) Close(ctx context.Context) error {
	b.once.Do(func() {
		b.sender.drain(ctx)
		b.stop()
		b.Client.Close()
		b.done.Wait()
		b.closeErr = b.box.Close()
	})
	return b.closeErr
}

// message is m as it goes to NATS.
func message(m outbox.Message) *nats.Msg {
	msg := nats.NewMsg(m.Subject)
	msg.Header.Set(nats.MsgIdHdr, m.ID)
	msg.Header.Set("Content-Type", "application/cloudevents+json")
	msg.Data = m.Body
	return msg
}

// poke tells a listener, who need not listen just now, that there is news.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
