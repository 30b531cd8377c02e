package probe_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"healer/detector"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres/probe"
)

// limit bounds whatever a test waits for. Nothing is expected to take so long.
const limit = 30 * time.Second

func prober(t *testing.T, dsn string) *probe.Prober {
	t.Helper()
	p, err := probe.New(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func connect(t *testing.T, p *probe.Prober) detector.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s, err := p.Connect(ctx, limit, func() {})
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// conditionOf is the condition that err carries.
func conditionOf(t *testing.T, err error) detector.Condition {
	t.Helper()
	var p *detector.ProbeError
	if !errors.As(err, &p) {
		t.Fatalf("error %v (%T) carries no condition", err, err)
	}
	return p.Condition
}

// refusal connects, which must fail, and returns the condition.
func refusal(t *testing.T, p *probe.Prober, within time.Duration) detector.Condition {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	s, err := p.Connect(ctx, limit, func() {})
	if err == nil {
		s.Close()
		t.Fatal("the server let the probe in")
	}
	return conditionOf(t, err)
}

// eventually connects until the condition is want.
func eventually(t *testing.T, p *probe.Prober, want detector.Condition) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		s, err := p.Connect(ctx, limit, func() {})
		got := detector.Answered
		if err == nil {
			s.Close()
		} else {
			got = conditionOf(t, err)
		}
		if got == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the condition stayed %q: want %q", got, want)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func exec(t *testing.T, dsn, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx) //nolint:errcheck // the test's own connection
	res, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(res) == 0 || len(res[0].Rows) == 0 {
		return ""
	}
	return string(res[0].Rows[0][0])
}

func TestSessionStaysGoodThroughManyWaits(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	srv := pgtest.Server(t, localpg.ServerOptions{})
	s := connect(t, prober(t, srv.DSN()))
	if !s.Identity().Known() || s.Identity().Timeline != 1 || s.Identity().StartedAt == 0 {
		t.Fatalf("identity %+v", s.Identity())
	}
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		err := s.Wait(ctx, time.Now().Add(time.Millisecond))
		cancel()
		if err != nil {
			t.Fatalf("wait: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), limit)
		err = s.Ping(ctx)
		cancel()
		if err != nil {
			t.Fatalf("ping: %v", err)
		}
	}
	s.Close()
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestKilledServer(t *testing.T) {
	for name, kill := range map[string]func(*localpg.Server, context.Context) error{
		"all processes":   (*localpg.Server).Kill,
		"postmaster only": (*localpg.Server).KillPostmaster,
	} {
		t.Run(name, func(t *testing.T) {
			srv := pgtest.Server(t, localpg.ServerOptions{})
			p := prober(t, srv.DSN())
			s := connect(t, p)
			gone := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			go func() { gone <- s.Wait(ctx, time.Now().Add(limit)) }()
			if err := kill(srv, ctx); err != nil {
				t.Fatal(err)
			}
			// No ping is sent: the idle session itself must tell.
			err := <-gone
			if err == nil {
				t.Fatal("the session outlived its server")
			}
			if c := conditionOf(t, err); c != detector.EOF {
				t.Errorf("session ended with %q: want %q", c, detector.EOF)
			}
			eventually(t, p, detector.Refused)
		})
	}
}

func TestFrozenServerHangs(t *testing.T) {
	srv := pgtest.Server(t, localpg.ServerOptions{})
	p := prober(t, srv.DSN())
	s := connect(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := srv.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	short, cancelShort := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancelShort()
	if c := conditionOf(t, s.Ping(short)); c != detector.Hung {
		t.Errorf("ping of a frozen server: %q, want %q", c, detector.Hung)
	}
	if c := refusal(t, p, 300*time.Millisecond); c != detector.Hung {
		t.Errorf("connect to a frozen server: %q, want %q", c, detector.Hung)
	}
	srv.Thaw()
	eventually(t, p, detector.Answered)
}

func TestRestartIsAnotherLife(t *testing.T) {
	srv := pgtest.Server(t, localpg.ServerOptions{})
	p := prober(t, srv.DSN())
	before := connect(t, p).Identity()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := srv.Restart(ctx, localpg.Immediate); err != nil {
		t.Fatal(err)
	}
	after := connect(t, p).Identity()
	if after.SystemID != before.SystemID || after.StartedAt == before.StartedAt {
		t.Errorf("before %+v, after %+v: want the same server in another life", before, after)
	}
	if again := connect(t, p).Identity(); again != after {
		t.Errorf("two sessions of one life read %+v and %+v", after, again)
	}
}

func TestShuttingDownIsNotRefused(t *testing.T) {
	srv := pgtest.Server(t, localpg.ServerOptions{})
	p := prober(t, srv.DSN())
	// A smart shutdown waits for this session, so the state lasts.
	s := connect(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Stop(ctx, localpg.Smart) }()
	eventually(t, p, detector.StartingUp)
	s.Close()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	eventually(t, p, detector.Refused)
}

func TestServerThatSaysNoLives(t *testing.T) {
	srv := pgtest.Server(t, localpg.ServerOptions{
		Scram: true,
		Conf: map[string]string{
			"max_connections": "4", "superuser_reserved_connections": "0", "reserved_connections": "0", "max_wal_senders": "0",
			"wal_level": "replica",
		},
	})
	exec(t, srv.DSN(), "CREATE ROLE guest LOGIN PASSWORD 'right'")

	t.Run("wrong password", func(t *testing.T) {
		p := prober(t, srv.DSN()+" user=guest password=wrong")
		if c := refusal(t, p, limit); c != detector.AuthRefused {
			t.Errorf("condition %q: want %q", c, detector.AuthRefused)
		}
	})
	t.Run("missing database", func(t *testing.T) {
		p := prober(t, srv.DSNFor("nowhere"))
		if c := refusal(t, p, limit); c != detector.ServerError {
			t.Errorf("condition %q: want %q", c, detector.ServerError)
		}
	})
	t.Run("too many connections", func(t *testing.T) {
		p := prober(t, srv.DSN())
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			s, err := p.Connect(ctx, limit, func() {})
			cancel()
			if err != nil {
				if c := conditionOf(t, err); c != detector.TooManyConnections {
					t.Errorf("condition %q: want %q", c, detector.TooManyConnections)
				}
				return
			}
			defer s.Close()
		}
		t.Error("a server of 4 connections gave 5")
	})
	t.Run("terminated session", func(t *testing.T) {
		// The three sessions above are going; wait for room.
		p := prober(t, srv.DSN())
		eventually(t, p, detector.Answered)
		s := connect(t, p)
		exec(t, srv.DSN(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'healer probe'")
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		if c := conditionOf(t, s.Wait(ctx, time.Now().Add(limit))); c != detector.EOF {
			t.Errorf("condition %q: want %q", c, detector.EOF)
		}
		eventually(t, p, detector.Answered)
	})
}

func TestNetworkFaults(t *testing.T) {
	srv := pgtest.Server(t, localpg.ServerOptions{})
	proxy := pgtest.Proxy(t, srv.Addr())
	p := prober(t, strings.Replace(srv.DSN(), srv.Addr()[strings.LastIndex(srv.Addr(), ":")+1:],
		proxy.Addr()[strings.LastIndex(proxy.Addr(), ":")+1:], 1))
	s := connect(t, p)
	proxy.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c := conditionOf(t, s.Ping(ctx)); c != detector.Hung {
		t.Errorf("ping through a cut line: %q, want %q", c, detector.Hung)
	}
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	s = connect(t, p)
	proxy.Refuse()
	wait, cancelWait := context.WithTimeout(t.Context(), limit)
	defer cancelWait()
	if c := conditionOf(t, s.Wait(wait, time.Now().Add(limit))); c != detector.EOF {
		t.Errorf("session through a severed line: %q, want %q", c, detector.EOF)
	}
	if c := refusal(t, p, limit); c != detector.Refused {
		t.Errorf("connect to a closed port: %q, want %q", c, detector.Refused)
	}
}

func TestNewNeverQuotesTheDSN(t *testing.T) {
	_, err := probe.New("host=h password=s3cret port=none")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %v", err)
	}
}
