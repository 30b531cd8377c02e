package natsbus

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"healer/topology"
)

func TestServerSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer taken.Close()
	addr := taken.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	good := ServerOptions{
		Node: "n1", Cluster: "c", Client: "127.0.0.1:0", Route: "127.0.0.1:0",
		Routes: []string{"127.0.0.1:1"}, StoreDir: t.TempDir(),
	}
	for name, c := range map[string]struct {
		spoil func(*ServerOptions)
		code  string
		says  string
	}{
		"the client port is in use": {func(o *ServerOptions) { o.Client = addr }, "nats_address", addr},
		"the route port is in use":  {func(o *ServerOptions) { o.Route = addr }, "nats_address", addr},
		"the host is not this one":  {func(o *ServerOptions) { o.Client = "192.0.2.1:4222" }, "nats_address", "192.0.2.1:4222"},
		"no port":                   {func(o *ServerOptions) { o.Client = "127.0.0.1" }, "nats_address", "127.0.0.1"},
		"a port that is none":       {func(o *ServerOptions) { o.Client = "127.0.0.1:70000" }, "nats_address", "70000"},
		"a route without a port":    {func(o *ServerOptions) { o.Route = "here" }, "nats_address", "here"},
		"a peer without a port":     {func(o *ServerOptions) { o.Routes = []string{"there"} }, "nats_address", "there"},
		"the directory is a file":   {func(o *ServerOptions) { o.StoreDir = file }, "nats_store", file},
		"no directory":              {func(o *ServerOptions) { o.StoreDir = "" }, "nats_options", "data directory"},
		"a name with a blank":       {func(o *ServerOptions) { o.Node = "n 1" }, "nats_options", "server name"},
	} {
		o := good
		c.spoil(&o)
		s, err := StartServer(t.Context(), o)
		if err == nil {
			t.Errorf("%s: the server runs", name)
			check(t, s.Shutdown(t.Context()))
			continue
		}
		var f *topology.Fault
		if !errors.As(err, &f) || f.Code != c.code || f.Class != topology.Permanent || f.Hint == "" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What only the server itself finds out is an error as well, not the end of the
// process.
func TestServerThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600))
	_, err := StartServer(t.Context(), ServerOptions{Node: "n1", Cluster: "c", Client: "127.0.0.1:0", StoreDir: dir})
	var f *topology.Fault
	if !errors.As(err, &f) || f.Code != "nats_start" || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("start: %v", err)
	}
}

func TestServerStartIsBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := StartServer(ctx, ServerOptions{Node: "n1", Cluster: "c", Client: "127.0.0.1:0", StoreDir: t.TempDir()})
	if !errors.Is(err, context.Canceled) || topology.ClassOf(err) != topology.Transient {
		t.Errorf("start: %v", err)
	}
}

func TestServerShutdownIsBounded(t *testing.T) {
	s, err := StartServer(t.Context(), ServerOptions{Node: "n1", Cluster: "c", Client: "127.0.0.1:0", StoreDir: t.TempDir()})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// It may have stopped before anyone looks at the context.
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	check(t, s.Shutdown(t.Context())) // again, and now to its end
	if nc, err := nats.Connect(s.URL()); err == nil {
		nc.Close()
		t.Error("the server still answers")
	}
}

// lockedBuffer is a log's destination that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestServerLogsToSlog(t *testing.T) {
	var out lockedBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	dir := t.TempDir()
	s, err := StartServer(t.Context(), ServerOptions{Node: "n1", Cluster: "c", Client: "127.0.0.1:0", StoreDir: dir, Log: log})
	check(t, err)
	check(t, s.Shutdown(t.Context()))
	for _, want := range []string{"component=nats-server", "Listening for client connections", "level=DEBUG"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("log has no %q:\n%s", want, out.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "jetstream")); errors.Is(err, fs.ErrNotExist) {
		t.Error("JetStream has no directory")
	}
}
