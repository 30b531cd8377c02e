package gossip

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/detector"
	"healer/topology"
)

func sample(n int) []detector.Evidence {
	var out []detector.Evidence
	for i := range n {
		id := topology.Identity{SystemID: 1 << 63, Timeline: 3, StartedAt: 42}
		out = append(out, detector.Evidence{
			Observer: "n1", Subject: "n2", Seq: uint64(i), Kind: detector.Positive, Condition: detector.Refused, //nolint:gosec // small
			Detail: strings.Repeat("d", detector.MaxDetail), Lasted: time.Second, Age: time.Millisecond,
			Identity: id, IdentityAge: time.Minute, Episode: 7, Failed: &id,
		})
	}
	return out
}

func TestWireRoundTrip(t *testing.T) {
	want := message{From: "n1", Evidence: sample(2)}
	b, err := encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(b, maxState)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-sent +received):\n%s", d)
	}
}

// Whatever a driver writes into its error, no password goes over the wire.
func TestNoPasswordIsSent(t *testing.T) {
	for _, detail := range []string{
		`cannot connect to host=10.0.0.1 user=healer password=hunter2 dbname=app`,
		`cannot connect to host=10.0.0.1 PASSWORD = 'hunter2 \'hunter2' dbname=app`,
		`dial postgres://healer:hunter2@10.0.0.1/app: refused`,
		`dial postgresql://healer:p:hunter2/@10.0.0.1/app: refused`,
	} {
		e := sample(2)
		e[1].Detail = detail
		b, err := encode(message{From: "n1", Evidence: e})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "hunter2") {
			t.Errorf("sent: %s", b)
		}
		if !strings.Contains(string(b), "10.0.0.1") || e[1].Detail != detail {
			t.Errorf("more than the password is gone from %q: %s", e[1].Detail, b)
		}
	}
}

func TestWireRefuses(t *testing.T) {
	b, err := encode(message{From: "n1", Evidence: sample(3)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b     []byte
		limit int
	}{
		"empty":         {nil, maxState},
		"too large":     {b, len(b) - 1},
		"other version": {append([]byte{wireVersion + 1}, b[1:]...), maxState},
		"cut off":       {b[:len(b)-5], maxState},
	} {
		if _, err := decode(c.b, c.limit); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, err := encode(message{From: "n1", Evidence: sample(1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b, maxState)
		if err != nil {
			return
		}
		if _, err := encode(m); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func TestDatagramsFit(t *testing.T) {
	want := sample(40)
	msgs, err := datagrams(message{From: "n1", ID: "x", Evidence: want})
	if err != nil {
		t.Fatal(err)
	}
	var got []detector.Evidence
	for _, b := range msgs {
		if len(b) > maxDatagram {
			t.Errorf("a datagram has %d bytes", len(b))
		}
		m, err := decode(b, maxDatagram)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Evidence...)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-sent +received):\n%s", d)
	}
}

func TestLogLevels(t *testing.T) {
	for line, want := range map[string]struct {
		level slog.Level
		text  string
	}{
		"[DEBUG] memberlist: Stream connection": {slog.LevelDebug, "Stream connection"},
		"[WARN] memberlist: Refuting":           {slog.LevelInfo, "Refuting"},
		"[ERR] memberlist: no":                  {slog.LevelWarn, "no"},
		"something else":                        {slog.LevelInfo, "something else"},
	} {
		if level, text := parseLine([]byte(line)); level != want.level || text != want.text {
			t.Errorf("%q is %v %q: want %v %q", line, level, text, want.level, want.text)
		}
	}
}

func TestResolve(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:7946": "127.0.0.1:7946", "[::1]:7946": "[::1]:7946",
	} {
		if got, err := resolve(t.Context(), addr); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", addr, got, err)
		}
	}
	for _, addr := range []string{"127.0.0.1", "127.0.0.1:gossip", "127.0.0.1:70000"} {
		if got, err := resolve(t.Context(), addr); err == nil {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// A peer that connects and says nothing does not hold up the shutdown.
func TestSilentStreamDoesNotHoldUpTheGuard(t *testing.T) {
	g, err := New(Config{
		Self: "n1", Cluster: "c", Log: slog.New(slog.DiscardHandler), StreamTimeout: time.Hour,
		Members: []Member{{Name: "n1", Addr: "127.0.0.1:0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	transport, err := g.cfg.listen(must(resolve(t.Context(), "127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	guarded := newGuard(transport, "l", nil, time.Hour, g.refused)
	ip, port, err := guarded.FinalAdvertiseAddr("", 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", (&net.TCPAddr{IP: ip, Port: port}).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test's own
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- guarded.Shutdown() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Fatal("the guard waits for a peer that says nothing")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
