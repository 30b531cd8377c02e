package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

func TestWrapClassifiesServerErrors(t *testing.T) {
	for code, want := range map[string]topology.Class{
		"08006": topology.Transient, "08P01": topology.Transient,
		"28000": topology.Permanent, "28P01": topology.Permanent, "3D000": topology.Permanent,
		"40001": topology.Transient, "40P01": topology.Transient,
		"42501": topology.Permanent, "42704": topology.Permanent, "42710": topology.Conflict,
		"53300": topology.Transient, "53100": topology.Transient, "53400": topology.Permanent,
		"55000": topology.Permanent, "55006": topology.Transient, "55P03": topology.Transient,
		"57P01": topology.Transient, "57P02": topology.Transient, "57P03": topology.Transient,
		"57014": topology.Transient, "58P01": topology.Permanent, "XX000": topology.Permanent,
		"99999": topology.Permanent, "": topology.Permanent,
	} {
		cause := &pgconn.PgError{Code: code, Message: "boom"}
		err := Wrap("n1", fmt.Errorf("around: %w", cause))
		var f *topology.Fault
		if !errors.As(err, &f) {
			t.Fatalf("%s: %T is no fault", code, err)
		}
		if f.Class != want || f.Code != code || f.Node != "n1" || !errors.Is(err, cause) {
			t.Errorf("%s: got %+v, want class %v", code, f, want)
		}
	}
	for code, r := range states() {
		if r.class == topology.Permanent && r.hint == "" && code != "22023" {
			t.Errorf("%s: a permanent error needs a remedy", code)
		}
	}
}

func TestWrapClassifiesTheRest(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	for name, tc := range map[string]struct {
		err  error
		code string
	}{
		"eof":        {io.ErrUnexpectedEOF, "network"},
		"reset":      {fmt.Errorf("read: %w", reset), "network"},
		"dns":        {&net.DNSError{Err: "no such host", IsNotFound: true}, "network"},
		"conn shut":  {pgconn.ErrConnClosed, "network"},
		"no network": {errors.New("cannot scan"), "client"},
	} {
		err := Wrap("n1", tc.err)
		if !Is(err, tc.code) || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %v", name, err)
		}
		if got := topology.ClassOf(err) == topology.Transient; got != (tc.code == "network") {
			t.Errorf("%s: class %v", name, topology.ClassOf(err))
		}
	}
	known := topology.Faultf(topology.Conflict, "x", "y")
	for _, err := range []error{nil, context.Canceled, context.DeadlineExceeded, known} {
		if got := Wrap("n1", err); got != err { //nolint:errorlint // the very same
			t.Errorf("Wrap(%v) = %v: want it unchanged", err, got)
		}
	}
}

func TestConnectFailureIsTransient(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open("n1", "host=127.0.0.1 dbname=app user=u password=hunter2 port="+port)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.FlushedLSN(t.Context()); !Is(err, "network") || topology.ClassOf(err) != topology.Transient {
		t.Fatalf("a refused connection: %v", err)
	}
}
