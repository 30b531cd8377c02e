package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/detector"
)

func TestClassify(t *testing.T) {
	dial := func(err error) error {
		return &dialError{&net.OpError{Op: "dial", Net: "tcp", Err: err}}
	}
	sys := func(e syscall.Errno) error { return os.NewSyscallError("connect", e) }
	pg := func(code string) error { return fmt.Errorf("server error: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		name string
		err  error
		want detector.Condition
	}{
		{"refused", dial(sys(syscall.ECONNREFUSED)), detector.Refused},
		{"no socket", dial(sys(syscall.ENOENT)), detector.Refused},
		{"no route", dial(sys(syscall.EHOSTUNREACH)), detector.Unreachable},
		{"no such host", dial(&net.DNSError{Err: "no such host", IsNotFound: true}), detector.Unreachable},
		{"dial timeout", dial(os.ErrDeadlineExceeded), detector.HostSilent},
		{"kernel gave up", &net.OpError{Op: "read", Err: sys(syscall.ETIMEDOUT)}, detector.HostSilent},
		{"read timeout", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, detector.Hung},
		{"context over", fmt.Errorf("x: %w", context.DeadlineExceeded), detector.Hung},
		{"reset", &net.OpError{Op: "read", Err: sys(syscall.ECONNRESET)}, detector.EOF},
		{"eof", fmt.Errorf("x: %w", io.ErrUnexpectedEOF), detector.EOF},
		{"starting up", pg("57P03"), detector.StartingUp},
		{"crash", pg("57P02"), detector.EOF},
		{"full", pg("53300"), detector.TooManyConnections},
		{"bad password", pg("28P01"), detector.AuthRefused},
		{"no pg_hba entry", pg("28000"), detector.AuthRefused},
		{"no database", pg("3D000"), detector.ServerError},
		{"out of our descriptors", dial(sys(syscall.EMFILE)), detector.Unclassified},
		{"bad certificate", errors.New("tls: failed to verify certificate"), detector.Unclassified},
		// Several attempts of one connect.
		{"all refused", errors.Join(dial(sys(syscall.ECONNREFUSED)), dial(sys(syscall.ECONNREFUSED))), detector.Refused},
		{"refused and silent", errors.Join(dial(sys(syscall.ECONNREFUSED)), dial(os.ErrDeadlineExceeded)), detector.HostSilent},
		{"refused and answered", errors.Join(dial(sys(syscall.ECONNREFUSED)), pg("28P01")), detector.AuthRefused},
		{"refused and our fault", errors.Join(dial(sys(syscall.ECONNREFUSED)), dial(sys(syscall.EMFILE))), detector.Unclassified},
		{"joined deep", fmt.Errorf("a: %w", errors.Join(dial(sys(syscall.ECONNREFUSED)), fmt.Errorf("b: %w", errors.Join(pg("53300"))))), detector.TooManyConnections},
	} {
		if got := classify(c.err); got.Condition != c.want {
			t.Errorf("%s: %v is %q, want %q", c.name, c.err, got.Condition, c.want)
		}
	}
}
