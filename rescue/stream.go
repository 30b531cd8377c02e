package rescue

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

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
	chunkMessages = 4096
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
	// Format is what the clone's output plugin speaks; nil is pgoutput.
	Format Format
	// from is where the stream begins, 0 at the position the slot has confirmed.
	from topology.LSN
}

// Format is another language than pgoutput's, for one stream.
type Format interface {
	// Options are those of START_REPLICATION; they take the place of Publications.
	Options() []string
	// Translate hands to emit the messages of pgoutput that say the same as a
	// message of the stream, each valid during the call alone.
	Translate(message []byte, emit func(pgoutput []byte) error) error
}

// Stream is S's WAL from the clone's position, decoded. It is read by one
// goroutine of its own, which answers the server while the applier waits for T,
// and which Close awaits.
type Stream struct {
	opts   StreamOptions
	conn   *pgconn.PgConn
	cancel context.CancelFunc
	chunks chan chunk
	// read ones come back, to be filled again.
	spare chan chunk
	done  chan struct{}

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
		setting{"logical_decoding_work_mem", "256MB"})
	if err := configure(ctx, conn, settings); err != nil {
		return nil, fmt.Errorf("prepare the stream of %s: %w", opts.Node, err)
	}
	// 0/0 means the position the slot has confirmed, which is the clone's start.
	err := pglogrepl.StartReplication(ctx, conn, quoteIdent(opts.Slot), pglogrepl.LSN(opts.from),
		pglogrepl.StartReplicationOptions{Mode: pglogrepl.LogicalReplication, PluginArgs: opts.args(major(conn))})
	if err != nil {
		return nil, fmt.Errorf("stream slot %s of %s: %w", opts.Slot, opts.Node, err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Stream{
		opts: opts, conn: conn, cancel: cancel, until: opts.Until,
		chunks: make(chan chunk, chunksAhead), spare: make(chan chunk, chunksAhead), done: make(chan struct{}),
	}
	go s.read(run)
	return s, nil
}

// args are the options for the output plugin of a server of that major version.
func (o StreamOptions) args(major int) []string {
	if o.Format != nil {
		return o.Format.Options()
	}
	args := []string{
		"proto_version '1'",
		// Not quoteLiteral: the replication grammar knows no E'' strings.
		"publication_names '" + strings.ReplaceAll(quoteIdents(o.Publications), "'", "''") + "'",
	}
	if major >= 16 { // before it there is no such option: what others wrote is always sent
		args = append(args, "origin 'any'")
	}
	return args
}

// malformed is the error of a stream that cannot be read.
func (s *Stream) malformed(err error) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "stream_malformed", Node: s.opts.Node, Err: err,
		Hint: "the source's output plugin speaks a protocol that this version does not know: check its version",
	}
}

// major is the major version that the server told at the beginning of the session.
func major(conn *pgconn.PgConn) int {
	version := conn.ParameterStatus("server_version") // 15.18 (Debian ...), 19beta1
	end := strings.IndexFunc(version+".", func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.Atoi(version[:end])
	if err != nil {
		return 0
	}
	return n
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
		s.giveBack()
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
		return message{}, s.malformed(err)
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

// giveBack lets the reader fill the chunk that was read.
func (s *Stream) giveBack() {
	select {
	case s.spare <- s.cur:
	default:
	}
	s.cur = chunk{}
}

// extend moves the end of the stream, never back; next carries on.
func (s *Stream) extend(until topology.LSN) { s.until = max(s.until, until) }

// quoteIdents renders names as publication_names wants them.
func quoteIdents(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteIdent(n)
	}
	return strings.Join(quoted, ",")
}
