package probe

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/detector"
)

// states maps SQLSTATEs to conditions; five characters win over a class of two.
// A state in neither shows a server that answers, with something to report.
func states() map[string]detector.Condition {
	return map[string]detector.Condition{
		"57P03": detector.StartingUp, // starting up, shutting down, crash recovery
		"53300": detector.TooManyConnections,
		"28":    detector.AuthRefused,
		// These end a session that was open. What they mean for the server
		// shows when the next one is asked for.
		"57P01": detector.EOF, // admin_shutdown, also pg_terminate_backend
		"57P02": detector.EOF, // crash_shutdown
		"57P05": detector.EOF, // idle_session_timeout
	}
}

// errnos maps what the kernel says to conditions.
func errnos() map[syscall.Errno]detector.Condition {
	return map[syscall.Errno]detector.Condition{
		syscall.ECONNREFUSED: detector.Refused,
		syscall.ECONNRESET:   detector.EOF,
		syscall.ECONNABORTED: detector.EOF,
		syscall.EPIPE:        detector.EOF,
		syscall.EHOSTUNREACH: detector.Unreachable,
		syscall.ENETUNREACH:  detector.Unreachable,
		syscall.EHOSTDOWN:    detector.Unreachable,
		syscall.ENETDOWN:     detector.Unreachable,
		syscall.ETIMEDOUT:    detector.HostSilent,
	}
}

// precedence chooses among the attempts of one connect, which may go to several
// addresses, with and without TLS: one that got an answer speaks for the server,
// and it is gone only when all were refused.
func precedence() []detector.Kind {
	return []detector.Kind{detector.Refuting, detector.Silent, detector.Neutral, detector.Positive}
}

// classify names the condition behind err.
func classify(err error) *detector.ProbeError {
	var best *detector.ProbeError
	for _, e := range attempts(err) {
		c := &detector.ProbeError{Condition: condition(e), Err: e}
		if best == nil || weight(c.Condition) < weight(best.Condition) {
			best = c
		}
	}
	return best
}

// weight is the place of a condition's kind in the precedence.
func weight(c detector.Condition) int {
	meanings := detector.Conditions()
	i := slices.IndexFunc(meanings, func(m detector.Meaning) bool { return m.Condition == c })
	return slices.Index(precedence(), meanings[i].Kind)
}

// attempts takes joined errors apart.
func attempts(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if joined, ok := e.(interface{ Unwrap() []error }); ok {
			var all []error
			for _, one := range joined.Unwrap() {
				all = append(all, attempts(one)...)
			}
			return all
		}
	}
	return []error{err}
}

func condition(err error) detector.Condition {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return stateCondition(pg.Code)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if c, ok := errnos()[errno]; ok {
			return c
		}
	}
	var dns *net.DNSError
	var dial *dialError
	switch {
	case errors.As(err, &dns):
		return detector.Unreachable
	case errors.As(err, &dial) && errors.Is(err, fs.ErrNotExist):
		return detector.Refused // no Unix socket: nobody listens
	case errors.As(err, &dial) && isTimeout(err):
		return detector.HostSilent
	case isTimeout(err):
		return detector.Hung
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return detector.EOF
	default:
		return detector.Unclassified
	}
}

func stateCondition(code string) detector.Condition {
	if c, ok := states()[code]; ok {
		return c
	}
	if c, ok := states()[code[:min(2, len(code))]]; ok {
		return c
	}
	return detector.ServerError
}

// isTimeout reports whether err is a deadline of ours, of whatever layer.
func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &n) && n.Timeout()
}
