package supervisor_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"healer/internal/supervisor"
)

// manager is a service manager that listens.
func manager(t *testing.T, watchdog time.Duration) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	if watchdog > 0 {
		t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	}
	return func() string {
		buf := make([]byte, 256)
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestWatched(t *testing.T) {
	next := manager(t, 20*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks, hangs, goOn, over := 0, make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		supervisor.Watched(ctx, slog.New(slog.DiscardHandler), func() {
			if looks++; looks == 3 {
				close(hangs)
				<-goOn
			}
		})
	}()
	for i, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Fatalf("message %d is %q: want %q", i, got, want)
		}
	}
	// While it hangs, nothing is told.
	<-hangs
	cancel()
	close(goOn)
	for i, want := range []string{"WATCHDOG=1", "STOPPING=1"} {
		if got := next(); got != want {
			t.Fatalf("message %d of the end is %q: want %q", i, got, want)
		}
	}
	<-over
}

func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	supervisor.Watched(ctx, slog.New(slog.DiscardHandler), func() { t.Error("asked although nobody wants to know") })
}

func TestStatus(t *testing.T) {
	next := manager(t, 0)
	supervisor.Status(slog.New(slog.DiscardHandler), "%d nodes", 3)
	if got := next(); got != "STATUS=3 nodes" {
		t.Errorf("told %q", got)
	}
}
