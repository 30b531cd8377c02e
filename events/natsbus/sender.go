package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/events/natsbus/internal/outbox"
)

const (
	// refusing is a stream's name that no stream has: a message that expects
	// it reaches the subscribers of its subject but no stream.
	refusing = "-"
	// announceBatch is how many events are announced before acknowledgements
	// are looked at again.
	announceBatch = 256
	// stuckAfter is how long the stream may take before it is logged.
	stuckAfter = 5 * time.Second
	// maxBadReads is how often an event that the disk does not give back is
	// asked for.
	maxBadReads = 3
	// codeHeaderTooLarge is JetStream's JSStreamHeaderExceedsMaximumErr.
	codeHeaderTooLarge jetstream.ErrorCode = 10097
)

// sender takes the outbox to the stream. One goroutine runs it; only that one
// touches the fields below the line.
//
// The invariant that makes the order of the stream the order of Publish: a
// message without the refusing header is sent only while all before it are
// acknowledged.
type sender struct {
	client *Client
	box    *outbox.Box
	stream *stream
	log    *slog.Logger
	// again tells that sending has a new chance: a connection, a leader.
	again  <-chan struct{}
	unkept chan outbox.Message
	// draining brings the channel to close when the outbox is empty.
	draining chan chan struct{}
	inbox    string
	acks     chan *nats.Msg

	// ------
	head      outbox.Entry // the event on its way; Seq 0 is none
	announced uint64       // events up to this one were sent at least once
	wait      *backoff.ExponentialBackOff
	resend    *time.Timer
	since     time.Time // when head was first sent
	badReads  int       // how often head could not be read
	stuck     bool      // it was logged that the stream does not acknowledge
	emptied   chan struct{}
}

func newSender(c *Client, box *outbox.Box, st *stream, again <-chan struct{}) (*sender, error) {
	s := &sender{
		client: c, box: box, stream: st, log: c.log, again: again,
		unkept: make(chan outbox.Message, 64), draining: make(chan chan struct{}),
		inbox: c.nc.NewInbox() + ".", acks: make(chan *nats.Msg, 64),
		wait:   &backoff.ExponentialBackOff{InitialInterval: 500 * time.Millisecond, RandomizationFactor: 0.2, Multiplier: 1.5, MaxInterval: 2 * time.Second},
		resend: time.NewTimer(time.Hour),
	}
	s.resend.Stop()
	// What an earlier process left was announced by it; only new events are.
	for e, ok := box.After(0); ok; e, ok = box.After(s.announced) {
		s.announced = e.Seq
	}
	if _, err := c.nc.ChanSubscribe(s.inbox+"*", s.acks); err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	return s, nil
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) {
	defer s.resend.Stop()
	for {
		s.advance()
		s.announce()
		select {
		case <-ctx.Done():
			return
		case <-s.box.Changed():
		case m := <-s.unkept:
			// Best effort: the caller has its error.
			_ = s.client.nc.PublishMsg(message(m))
		case done := <-s.draining:
			s.emptied = done
		case <-s.again:
			s.wait.Reset()
			s.sendHead()
		case <-s.resend.C:
			s.late()
			s.sendHead()
		case m := <-s.acks:
			s.acknowledge(m)
		}
	}
}

// advance begins with the next event when none is on its way.
func (s *sender) advance() {
	for s.head.Seq == 0 {
		head, ok := s.box.After(0)
		if !ok {
			s.resend.Stop()
			if s.emptied != nil {
				close(s.emptied)
				s.emptied = nil
			}
			return
		}
		s.head, s.since, s.badReads = head, time.Now(), 0
		s.wait.Reset()
		s.sendHead()
	}
}

// sendHead sends the event whose turn it is and sets the time for the next
// attempt. An unreadable or oversized event is dropped, or it would hold up
// all others forever.
func (s *sender) sendHead() {
	if s.head.Seq == 0 {
		return
	}
	s.resend.Reset(s.wait.NextBackOff())
	if !s.client.Connected() {
		return // the connection's return, or the timer, sends again
	}
	m, err := s.box.Read(s.head)
	if err != nil {
		if s.badReads++; s.badReads == maxBadReads {
			s.drop(err)
		}
		return
	}
	msg := message(m)
	msg.Reply = s.inbox + strconv.FormatUint(s.head.Seq, 36)
	switch err = s.client.nc.PublishMsg(msg); {
	case err == nil:
		s.announced = max(s.announced, s.head.Seq)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		s.drop(err)
	default:
		// The connection was lost just now.
	}
}

// drop gives up the event whose turn it is.
func (s *sender) drop(err error) {
	s.log.Error("event cannot be delivered and is dropped", "id", s.head.ID, "error", err)
	s.done()
}

// done takes the event whose turn it is out of the outbox.
func (s *sender) done() {
	s.announced = max(s.announced, s.head.Seq)
	s.box.Ack(s.head.Seq)
	s.head = outbox.Entry{}
}

// announce sends what waits for its turn, to the subscribers alone.
func (s *sender) announce() {
	for range announceBatch {
		e, ok := s.box.After(max(s.announced, s.head.Seq))
		if !ok {
			return
		}
		if !s.client.Connected() {
			return
		}
		if m, err := s.box.Read(e); err == nil {
			msg := message(m)
			msg.Header.Set(nats.ExpectedStreamHdr, refusing)
			if err := s.client.nc.PublishMsg(msg); errors.Is(err, nats.ErrReconnectBufExceeded) {
				return
			}
		}
		s.announced = e.Seq
	}
	// More are waiting; the resend timer or the next ack comes back here.
}

// late notes that no acknowledgement came in time. For a while everything that
// waits is announced again: who was connected to a server that died has missed
// what was announced until it found another, and the stream may not have it
// before there is a new leader, seconds later.
func (s *sender) late() {
	s.stream.check()
	if s.head.Seq != 0 && time.Since(s.since) < stuckAfter {
		s.announced = min(s.announced, s.head.Seq)
	}
	if s.stuck || s.head.Seq == 0 || !s.client.Connected() || time.Since(s.since) < stuckAfter {
		return
	}
	s.stuck = true
	s.log.Warn("stream does not acknowledge events; they are kept and sent again", "stream", s.stream.name)
}

// ack is JetStream's answer to a message.
type ack struct {
	Error     *jetstream.APIError `json:"error"`
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
}

// acknowledge takes in an answer. One to an earlier event, or to an earlier
// attempt which failed, changes nothing: the timer sends again.
func (s *sender) acknowledge(m *nats.Msg) {
	seq, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, s.inbox), 36, 64)
	if err != nil || seq != s.head.Seq || seq == 0 {
		return
	}
	if m.Header.Get("Status") != "" {
		// No stream has the subject, or it has no leader.
		s.stream.check()
		return
	}
	var a ack
	if err := json.Unmarshal(m.Data, &a); err != nil {
		s.log.Warn("acknowledgement cannot be read", "id", s.head.ID, "error", err)
		return
	}
	switch {
	case a.Error == nil && a.Stream == events.Stream(s.client.cluster) && a.Sequence > 0:
		if s.stuck {
			s.stuck = false
			s.log.Info("stream acknowledges events again", "stream", a.Stream)
		}
		s.done()
	case a.Error != nil && (a.Error.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum || a.Error.ErrorCode == codeHeaderTooLarge):
		s.drop(a.Error)
	case a.Error != nil:
		s.log.Debug("stream refuses an event for now", "id", s.head.ID, "error", a.Error)
		s.stream.check()
	default:
		s.log.Warn("event was acknowledged by another stream", "id", s.head.ID, "stream", a.Stream)
	}
}

// sendUnkept sends once what is not in the outbox, if there is room for it.
func (s *sender) sendUnkept(m outbox.Message) {
	select {
	case s.unkept <- m:
	default:
	}
}

// drain waits until the outbox is empty or ctx ends.
func (s *sender) drain(ctx context.Context) {
	done := make(chan struct{})
	select {
	case s.draining <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}
