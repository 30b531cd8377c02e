package rescue

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"healer/topology"
)

const (
	// worthReading is how many bytes are worth a look, and readPause how long the
	// reader waits for so many.
	worthReading = 128 << 10
	readPause    = 3 * time.Millisecond
	// lookEvery is how many messages are read between two looks at the clock.
	lookEvery = 256
)

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
	// heard is when the server was last known to have said something, spoke is set
	// when it has since; deadline is the read deadline that is set.
	heard, deadline time.Time
	spoke           bool
	// taken is how many bytes were read without a wait.
	taken int
}

// run reads until the stream is closed or broken.
func (r *reader) run(ctx context.Context) error {
	conn := r.stream.conn
	// Reading with a context costs a goroutine per message; a deadline that is
	// pulled when the context ends costs nothing.
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn().SetReadDeadline(time.Now()) })
	defer stop()
	for n := 0; ; n++ {
		if conn.Frontend().ReadBufferLen() == 0 {
			if err := r.beforeRead(ctx); err != nil {
				return err
			}
		}
		if n%lookEvery == 0 {
			r.listened()
			r.extendDeadline()
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
		r.spoke = true
		if err := r.handle(ctx, msg); err != nil {
			return err
		}
	}
}

// beforeRead is called when all that was read is taken: the applier gets it before
// the reader waits for more. The source writes message by message, and reading
// each as it comes would cost more than all else: so little makes the reader
// wait until it is worth it.
func (r *reader) beforeRead(ctx context.Context) error {
	if len(r.out.ends) > 0 && len(r.stream.chunks) == 0 {
		if err := r.handOver(ctx); err != nil {
			return err
		}
	}
	if r.taken < worthReading && r.taken > 0 {
		pause := time.NewTimer(readPause)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	r.taken = 0
	r.listened()
	r.extendDeadline()
	return ctx.Err()
}

// listened notes when the server was heard.
func (r *reader) listened() {
	if r.spoke {
		r.heard, r.spoke = time.Now(), false
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
	r.listened()
	if silent := time.Since(r.heard); silent > silentAfter {
		return &topology.Fault{
			Class: topology.Transient, Code: "source_silent", Node: r.stream.opts.Node,
			Err: fmt.Errorf("no word on the stream for %s", silent.Round(time.Second)),
		}
	}
	r.deadline = time.Time{}
	r.extendDeadline()
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
		r.taken += len(b)
		r.received = max(r.received, topology.LSN(x.WALStart))
		return r.take(ctx, x.WALData)
	}
	return nil
}

// take adds what a message of the stream says in pgoutput.
func (r *reader) take(ctx context.Context, data []byte) error {
	format := r.stream.opts.Format
	if format == nil {
		return r.add(ctx, data)
	}
	var adding error
	err := format.Translate(data, func(b []byte) error {
		adding = r.add(ctx, b)
		return adding
	})
	if err != nil && adding == nil {
		return r.stream.malformed(err)
	}
	return err
}

// add copies a message into the chunk and hands it over when it is full.
func (r *reader) add(ctx context.Context, data []byte) error {
	r.out.data = append(r.out.data, data...)
	r.out.ends = append(r.out.ends, len(r.out.data))
	if len(r.out.data) < chunkBytes && len(r.out.ends) < chunkMessages {
		return nil
	}
	return r.handOver(ctx)
}

// handOver waits for the applier, and meanwhile tells the server that its
// client lives: T may keep the applier waiting longer than wal_sender_timeout.
func (r *reader) handOver(ctx context.Context) error {
	select {
	case r.stream.chunks <- r.out:
		r.renew()
		return nil
	default:
	}
	tick := time.NewTimer(askAfter)
	defer tick.Stop()
	for {
		select {
		case r.stream.chunks <- r.out:
			r.renew()
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

// renew begins another chunk, in the memory of one that was read if there is one
// and it is none of those that a large value has made.
func (r *reader) renew() {
	r.out = chunk{}
	select {
	case old := <-r.stream.spare:
		if cap(old.data) <= 2*chunkBytes {
			r.out = chunk{data: old.data[:0], ends: old.ends[:0]}
		}
	default:
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
