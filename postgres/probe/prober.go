package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"healer/detector"
	"healer/topology"
)

// maxMessage bounds what a server may send in one message: the probe asks for
// one short row, so whatever is larger does not come from PostgreSQL.
const maxMessage = 1 << 20

// Prober implements detector.Prober for one server.
type Prober struct{ cfg *pgconn.Config }

var _ detector.Prober = (*Prober)(nil)

// parameters are what every session asks its server for. The server itself ends
// a statement that takes long, and a session whose agent's host has vanished, so
// that probes never pile up there. No limit of the server's on idle sessions ends
// one that is well.
func parameters() map[string]string {
	return map[string]string{
		"application_name": "healer probe", "search_path": "pg_catalog",
		"statement_timeout": "10s", "idle_session_timeout": "0",
		"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
		"tcp_user_timeout": "25s",
	}
}

// New makes a prober of the server that dsn names. It does not connect. Its error
// is a *topology.Fault that never quotes the DSN.
func New(dsn string) (*Prober, error) {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		var parse *pgconn.ParseConfigError
		if errors.As(err, &parse) {
			// What pgx quotes of a DSN it could not read may hold a password.
			err = errors.New("the dsn cannot be parsed")
		}
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: "dsn", Err: err,
			Hint: "check the node's dsn: key=value pairs or a postgres:// URL",
		}
	}
	cfg.ConnectTimeout = 0 // the caller's context bounds the connect
	maps.Copy(cfg.RuntimeParams, parameters())
	return &Prober{cfg: cfg}, nil
}

// Connect implements detector.Prober.
func (p *Prober) Connect(ctx context.Context, dial time.Duration, taken func()) (detector.Session, error) {
	cfg := p.cfg.Copy()
	cfg.DialFunc = dialer(time.Now().Add(dial), taken)
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, classify(err)
	}
	// From here on the conversation is ours: pgconn would answer a timeout
	// with a cancel request over a further connection.
	hijacked, err := conn.Hijack()
	if err != nil {
		_ = conn.Close(ctx)
		return nil, classify(err)
	}
	s := &session{conn: hijacked.Conn, wire: hijacked.Frontend}
	s.wire.SetMaxBodyLen(maxMessage)
	if err := s.identify(ctx); err != nil {
		s.Close()
		return nil, classify(err)
	}
	return s, nil
}

// dialer dials until a deadline that all attempts of one connect share. The
// kernel's keepalives end a session whose host vanished while nothing was sent,
// and its user timeout one that vanished with a question on the way.
func dialer(deadline time.Time, taken func()) pgconn.DialFunc {
	d := &net.Dialer{
		Deadline: deadline, Control: boundUnacknowledged,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3,
		},
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, &dialError{err}
		}
		taken()
		return conn, nil
	}
}

// dialError marks what happened before the server's side took the connection.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// identityQuery reads what tells one server, and one life of it, from another.
// On a primary the timeline is read from the log being written: the control file
// knows a new one only from its first checkpoint on.
const identityQuery = `SELECT system_identifier,
	CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
	ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END,
	(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint
	FROM pg_control_system()`

// identify reads the server's identity.
func (s *session) identify(ctx context.Context) error {
	row, err := s.ask(ctx, &pgproto3.Query{String: identityQuery})
	if err != nil {
		return err
	}
	if len(row) != 3 {
		return fmt.Errorf("the server's identity has %d columns: want 3", len(row))
	}
	text := string(row[0]) + " " + string(row[1]) + " " + string(row[2])
	if _, err := fmt.Sscan(text, &s.id.SystemID, &s.id.Timeline, &s.id.StartedAt); err != nil {
		return fmt.Errorf("the server's identity %q cannot be read: %w", text, err)
	}
	return nil
}

// session implements detector.Session.
type session struct {
	conn net.Conn
	wire *pgproto3.Frontend
	id   topology.Identity
}

// Identity implements detector.Session.
func (s *session) Identity() topology.Identity { return s.id }

// Ping implements detector.Session. A Sync is the least that a backend must answer:
// it takes part in no transaction and runs no statement ("Extended Query" in the
// documentation of the protocol).
func (s *session) Ping(ctx context.Context) error {
	if _, err := s.ask(ctx, &pgproto3.Sync{}); err != nil {
		return classify(err)
	}
	return nil
}

// Unanswered implements detector.Session: bytes that the other side's kernel has
// not acknowledged show that the host is silent, and not only the server.
func (s *session) Unanswered() detector.Condition {
	if unacknowledged(s.conn) {
		return detector.HostSilent
	}
	return detector.Hung
}

// ask sends one question and returns the last row of the answer.
func (s *session) ask(ctx context.Context, question pgproto3.FrontendMessage) ([][]byte, error) {
	var row [][]byte
	var failed error
	deadline, _ := ctx.Deadline()
	err := s.until(ctx, deadline, func() error {
		s.wire.Send(question)
		if err := s.wire.Flush(); err != nil {
			return err
		}
		for {
			msg, err := s.wire.Receive()
			if err != nil {
				return errors.Join(failed, err)
			}
			switch msg := msg.(type) {
			case *pgproto3.DataRow:
				row = copyRow(msg.Values)
			case *pgproto3.ErrorResponse:
				failed = pgconn.ErrorResponseToPgError(msg)
			case *pgproto3.ReadyForQuery:
				return failed
			}
		}
	})
	return row, err
}

// copyRow copies what the next message would overwrite.
func copyRow(values [][]byte) [][]byte {
	row := make([][]byte, len(values))
	for i, v := range values {
		row[i] = append([]byte(nil), v...)
	}
	return row
}

// Wait implements detector.Session.
func (s *session) Wait(ctx context.Context, until time.Time) error {
	err := s.until(ctx, until, func() error {
		for {
			msg, err := s.wire.Receive()
			if err != nil {
				return err
			}
			// Notices and changed settings may come at any time; an error
			// outside of a statement is the server's last word.
			if e, ok := msg.(*pgproto3.ErrorResponse); ok {
				return pgconn.ErrorResponseToPgError(e)
			}
		}
	})
	if over := ctx.Err() != nil || !time.Now().Before(until); !over || !isTimeout(err) {
		return classify(err)
	}
	return nil
}

// until runs f, whose reads and writes fail with a timeout at the deadline, if there
// is one, and once ctx ends.
func (s *session) until(ctx context.Context, deadline time.Time, f func() error) error {
	if err := s.conn.SetDeadline(deadline); err != nil {
		return err
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = s.conn.SetDeadline(time.Unix(1, 0))
	})
	err := f()
	if !stop() {
		<-fired
	}
	return err
}

// Close implements detector.Session. It says goodbye if that takes no time, so
// that the server's log shows no lost connection.
func (s *session) Close() {
	_ = s.conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
	s.wire.Send(&pgproto3.Terminate{})
	_ = s.wire.Flush()
	_ = s.conn.Close()
}
