package rescue

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"healer/topology"
)

const (
	// askAfter is how long a silent source is left alone before it is asked
	// for its position.
	askAfter = time.Second
	// silentAfter is how long a source may leave questions unanswered.
	silentAfter = 30 * time.Second
	// chunkBytes and chunkMessages bound what the reader hands over at once,
	// chunksAhead how far it reads ahead of the applier.
	chunkBytes    = 256 << 10
	chunkMessages = 512
	chunksAhead   = 4
)

// StreamOptions says what to stream.
type StreamOptions struct {
	// Node is S, for messages.
	Node string
	// Slot is the clone's name. It is never confirmed, so that the same clone
	// can be streamed again from its start.
	Slot string
	// Publications are S's, covering the tables T subscribes to from F.
	Publications []string
	// Until is the LSN of S up to which the gap may lie: S's flushed LSN once
	// the survivors were fenced.
	Until topology.LSN
}

// Stream is S's WAL from the clone's position, decoded. It is read by one
// goroutine of its own, which answers the server while the applier waits for T,
// and which Close awaits.
type Stream struct {
	opts   StreamOptions
	conn   *pgconn.PgConn
	cancel context.CancelFunc
	chunks chan chunk
	done   chan struct{}

	cur chunk
	dec decoder
	// until ends the stream for its consumer; passed is how far the server has
	// said it is.
	until, passed topology.LSN
}

// chunk is a run of messages in one buffer; ends is where each stops.
type chunk struct {
	data []byte
	ends []int
	next int
	// passed is the server's position once the messages are read; 0 when it
	// has not told.
	passed topology.LSN
	// err ends the stream after the messages.
	err error
}

// message returns the next message's bytes.
func (c *chunk) message() []byte {
	start := 0
	if c.next > 0 {
		start = c.ends[c.next-1]
	}
	return c.data[start:c.ends[c.next]]
}

// OpenStream starts streaming the clone on a connection opened with
// replication=database. From then on the connection belongs to the stream, and
// Close closes it.
func OpenStream(ctx context.Context, conn *pgconn.PgConn, opts StreamOptions) (*Stream, error) {
	// The output functions run in the walsender: their settings are its own.
	settings := append(textSettings(),
		setting{"logical_decoding_work_mem", "128MB"})
	if err := configure(ctx, conn, settings); err != nil {
		return nil, fmt.Errorf("prepare the stream of %s: %w", opts.Node, err)
	}
	args := []string{
		"proto_version '1'",
		// Not quoteLiteral: the replication grammar knows no E'' strings.
		"publication_names '" + strings.ReplaceAll(quoteIdents(opts.Publications), "'", "''") + "'",
		"origin 'any'",
	}
	// 0/0 means the position the slot has confirmed, which is the clone's start.
	err := pglogrepl.StartReplication(ctx, conn, quoteIdent(opts.Slot), 0,
		pglogrepl.StartReplicationOptions{Mode: pglogrepl.LogicalReplication, PluginArgs: args})
	if err != nil {
		return nil, fmt.Errorf("stream slot %s of %s: %w", opts.Slot, opts.Node, err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Stream{
		opts: opts, conn: conn, cancel: cancel, until: opts.Until,
		chunks: make(chan chunk, chunksAhead), done: make(chan struct{}),
	}
	go s.read(run)
	return s, nil
}

// Close ends the stream and its connection and waits for the reader.
func (s *Stream) Close(ctx context.Context) error {
	s.cancel()
	<-s.done
	if err := s.conn.Close(ctx); err != nil {
		return fmt.Errorf("close the stream of %s: %w", s.opts.Node, err)
	}
	return nil
}

// next returns the next message, valid until the following call, and io.EOF
// when every transaction committed before the end has been returned.
func (s *Stream) next(ctx context.Context) (message, error) {
	for s.cur.next == len(s.cur.ends) {
		if s.cur.err != nil {
			return message{}, s.cur.err
		}
		s.passed = max(s.passed, s.cur.passed)
		s.cur = chunk{}
		if s.passed >= s.until {
			return message{}, io.EOF
		}
		select {
		case s.cur = <-s.chunks:
		case <-ctx.Done():
			return message{}, ctx.Err()
		}
	}
	raw := s.cur.message()
	m, err := s.dec.decode(raw)
	if err != nil {
		return message{}, &topology.Fault{
			Class: topology.Permanent, Code: "stream_malformed", Node: s.opts.Node, Err: err,
			Hint: "the source speaks a pgoutput this version does not know: check its version",
		}
	}
	// A commit record at or after the end is not wanted, and no later
	// transaction is: they come in the order of their commits. It is not taken
	// from the chunk, in case the end moves.
	if m.kind == msgBegin && m.lsn >= s.until {
		return message{}, io.EOF
	}
	s.cur.next++
	m.raw = raw
	return m, nil
}

// extend moves the end of the stream, never back; next carries on.
func (s *Stream) extend(until topology.LSN) { s.until = max(s.until, until) }

// read moves messages from the connection to the channel until the stream ends.
func (s *Stream) read(ctx context.Context) {
	defer close(s.done)
	r := &reader{stream: s, heard: time.Now()}
	err := r.run(ctx)
	r.out.err = err
	select {
	case s.chunks <- r.out:
	case <-ctx.Done():
	}
}

// reader is the state of the reading goroutine.
type reader struct {
	stream   *Stream
	out      chunk
	received topology.LSN
	// heard is when the server last said something, deadline the read deadline
	// that is set.
	heard, deadline time.Time
}

// run reads until the stream is closed or broken.
func (r *reader) run(ctx context.Context) error {
	conn := r.stream.conn
	// Reading with a context costs a goroutine per message; a deadline that is
	// pulled when the context ends costs nothing.
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn().SetReadDeadline(time.Now()) })
	defer stop()
	for {
		r.extendDeadline()
		if err := ctx.Err(); err != nil {
			return err
		}
		msg, err := conn.ReceiveMessage(context.Background())
		if err != nil {
			if ctx.Err() == nil && pgconn.Timeout(err) {
				if err := r.ask(); err != nil {
					return err
				}
				continue
			}
			return fmt.Errorf("stream of %s: %w", r.stream.opts.Node, err)
		}
		r.heard = time.Now()
		if err := r.handle(ctx, msg); err != nil {
			return err
		}
	}
}

// extendDeadline keeps the read deadline between one and one and a half times
// askAfter away, so that it is not set for each message.
func (r *reader) extendDeadline() {
	now := time.Now()
	if r.deadline.Sub(now) > askAfter {
		return
	}
	r.deadline = now.Add(askAfter + askAfter/2)
	_ = r.stream.conn.Conn().SetReadDeadline(r.deadline)
}

// ask requests a keepalive from a server that has been silent, and gives it up
// when it stays so.
func (r *reader) ask() error {
	if silent := time.Since(r.heard); silent > silentAfter {
		return &topology.Fault{
			Class: topology.Transient, Code: "source_silent", Node: r.stream.opts.Node,
			Err: fmt.Errorf("no word on the stream for %s", silent.Round(time.Second)),
		}
	}
	r.deadline = time.Time{}
	return r.status(true)
}

// handle takes one message of the replication protocol.
func (r *reader) handle(ctx context.Context, msg pgproto3.BackendMessage) error {
	switch msg := msg.(type) {
	case *pgproto3.CopyData:
		if err := r.copyData(ctx, msg.Data); err != nil {
			return fmt.Errorf("stream of %s: %w", r.stream.opts.Node, err)
		}
		return nil
	case *pgproto3.ErrorResponse:
		return fmt.Errorf("stream of %s: %w", r.stream.opts.Node, pgconn.ErrorResponseToPgError(msg))
	case *pgproto3.CopyDone:
		return fmt.Errorf("stream of %s: %w", r.stream.opts.Node, io.ErrUnexpectedEOF)
	default: // notices, parameter changes
		return nil
	}
}

func (r *reader) copyData(ctx context.Context, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	switch b[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		k, err := pglogrepl.ParsePrimaryKeepaliveMessage(b[1:])
		if err != nil {
			return err
		}
		// The server's position is what it has decoded and sent.
		r.received = max(r.received, topology.LSN(k.ServerWALEnd))
		r.out.passed = topology.LSN(k.ServerWALEnd)
		if k.ReplyRequested {
			if err := r.status(false); err != nil {
				return err
			}
		}
		return r.handOver(ctx)
	case pglogrepl.XLogDataByteID:
		x, err := pglogrepl.ParseXLogData(b[1:])
		if err != nil {
			return err
		}
		r.received = max(r.received, topology.LSN(x.WALStart))
		return r.add(ctx, x.WALData)
	}
	return nil
}

// add copies a message into the chunk and hands the chunk over at the end of a
// transaction or when it is full.
func (r *reader) add(ctx context.Context, data []byte) error {
	if r.out.data == nil {
		r.out.data = make([]byte, 0, max(4<<10, len(data)))
	}
	r.out.data = append(r.out.data, data...)
	r.out.ends = append(r.out.ends, len(r.out.data))
	commit := len(data) > 0 && msgKind(data[0]) == msgCommit
	if !commit && len(r.out.data) < chunkBytes && len(r.out.ends) < chunkMessages {
		return nil
	}
	// A consumer that is busy gets larger chunks.
	if commit && len(r.stream.chunks) > 0 && len(r.out.data) < chunkBytes && len(r.out.ends) < chunkMessages {
		return nil
	}
	return r.handOver(ctx)
}

// handOver waits for the applier, and meanwhile tells the server that its
// client lives: T may keep the applier waiting longer than wal_sender_timeout.
func (r *reader) handOver(ctx context.Context) error {
	tick := time.NewTimer(askAfter)
	defer tick.Stop()
	for {
		select {
		case r.stream.chunks <- r.out:
			r.out = chunk{}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := r.status(false); err != nil {
				return err
			}
			r.heard = time.Now()
			tick.Reset(askAfter)
		}
	}
}

// status sends a standby status update that confirms nothing. It is built here
// because pglogrepl replaces a flush position of 0 by the write position, which
// would move the slot.
func (r *reader) status(replyRequested bool) error {
	buf := make([]byte, 0, 34)
	buf = append(buf, pglogrepl.StandbyStatusUpdateByteID)
	buf = binary.BigEndian.AppendUint64(buf, uint64(r.received))                           // written
	buf = binary.BigEndian.AppendUint64(buf, 0)                                            // flushed
	buf = binary.BigEndian.AppendUint64(buf, 0)                                            // applied
	buf = binary.BigEndian.AppendUint64(buf, uint64(time.Since(pgEpoch()).Microseconds())) //nolint:gosec // it is past 2000
	if replyRequested {
		buf = append(buf, 1)
	} else {
		buf = append(buf, 0)
	}
	front := r.stream.conn.Frontend()
	front.Send(&pgproto3.CopyData{Data: buf})
	if err := front.Flush(); err != nil {
		return fmt.Errorf("stream of %s: %w", r.stream.opts.Node, err)
	}
	return nil
}

// quoteIdents renders names as publication_names wants them.
func quoteIdents(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteIdent(n)
	}
	return strings.Join(quoted, ",")
}
