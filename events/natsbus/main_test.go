package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"healer/events"
)

// patience bounds every wait of these tests; it is no expectation of speed.
const patience = 90 * time.Second

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashingProcess(dir)
	}
	if options := os.Getenv(serverProcess); options != "" {
		runServerProcess(options)
	}
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	// Seldom a NATS server that is shut down while it makes a stream leaves
	// that stream's file store open (nats-server 2.15.2): its flusher and,
	// with it, the clock that the stores of a process share. Neither is ours
	// to end. All else of a server must be gone.
	left := goleak.Find(
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
	)
	if left != nil {
		fmt.Fprintln(os.Stderr, left)
		code = 1
	}
	os.Exit(code)
}

// mesh is a group of embedded servers that can be stopped and started again on
// the same addresses and directories.
type mesh struct {
	dir     string
	opts    []ServerOptions
	servers []*Server // nil where stopped
}

// newMesh prepares n servers; none is started.
func newMesh(dir string, n int) (*mesh, error) {
	m := &mesh{dir: dir, servers: make([]*Server, n)}
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	for i := range n {
		o := ServerOptions{
			Node: fmt.Sprintf("n%d", i+1), Cluster: "test",
			Client: ports[i], Route: ports[n+i], StoreDir: filepath.Join(dir, fmt.Sprint(i)), Log: testLog(),
			MaxStore: 100 * streamMaxBytes, // each test has a stream of its own
		}
		for j := range n {
			if j != i {
				o.Routes = append(o.Routes, ports[n+j])
			}
		}
		m.opts = append(m.opts, o)
	}
	return m, nil
}

// testLog shows the logs when HEALER_TEST_LOG is set.
func testLog() *slog.Logger {
	if os.Getenv("HEALER_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// freePorts returns addresses that were free a moment ago.
func freePorts(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// All are held until the last is had, so that they differ.
		defer l.Close()
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
}

func (m *mesh) start(i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := StartServer(ctx, m.opts[i])
	if err == nil {
		m.servers[i] = s
	}
	return err
}

func (m *mesh) stop(i int) error {
	if m.servers[i] == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := m.servers[i].Shutdown(ctx)
	m.servers[i] = nil
	return err
}

// startAll starts what does not run.
func (m *mesh) startAll() error {
	var errs []error
	for i, s := range m.servers {
		if s == nil {
			errs = append(errs, m.start(i))
		}
	}
	return errors.Join(errs...)
}

func (m *mesh) stopAll() error {
	var errs []error
	for i := range m.servers {
		errs = append(errs, m.stop(i))
	}
	return errors.Join(errs...)
}

// shared is the cluster of three servers that most tests use.
var shared struct {
	sync.Mutex
	mesh *mesh
	dir  string
}

// trio returns the shared cluster with all three servers running.
func trio(t *testing.T) *mesh {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.mesh == nil {
		dir, err := os.MkdirTemp("", "natsbus-*")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir = dir
		if shared.mesh, err = newMesh(dir, 3); err != nil {
			t.Fatal(err)
		}
	}
	if err := shared.mesh.startAll(); err != nil {
		t.Fatal(err)
	}
	return shared.mesh
}

func stopShared() error {
	if shared.mesh == nil {
		return nil
	}
	return errors.Join(shared.mesh.stopAll(), os.RemoveAll(shared.dir))
}

// single starts a server that stands alone.
func single(t *testing.T) *mesh {
	t.Helper()
	m, err := newMesh(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, m.stopAll()) })
	check(t, m.start(0))
	return m
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// busOptions are those of an agent beside server i of m, connected by a socket.
func busOptions(t *testing.T, m *mesh, i int, cluster string) Options {
	return Options{
		DialOptions: DialOptions{Cluster: cluster, URLs: []string{"nats://" + m.opts[i].Client}, Log: testLog()},
		Agent:       m.opts[i].Node, Replicas: min(3, len(m.opts)), Dir: t.TempDir(),
	}
}

// connect opens a bus until the test ends.
func connect(t *testing.T, o Options) *Bus {
	t.Helper()
	b, err := Connect(t.Context(), o)
	check(t, err)
	t.Cleanup(func() { closeNow(t, b) })
	return b
}

// closeNow closes without waiting for acknowledgements.
func closeNow(t *testing.T, b *Bus) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	check(t, b.Close(ctx))
}

// until waits for a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// unique makes a cluster's name that no earlier run on the shared servers had.
func unique(name string) string { return fmt.Sprintf("%s-%d", name, time.Now().UnixNano()) }

// ready waits until the stream takes events.
func ready(t *testing.T, b *Bus) *Bus {
	t.Helper()
	until(t, "stream is ready", func() bool { return b.Status().StreamReady })
	return b
}

// drained waits until the stream has acknowledged everything.
func drained(t *testing.T, b *Bus) {
	t.Helper()
	until(t, "outbox is empty", func() bool { return b.Status().Pending == 0 })
}

func publish(t *testing.T, b *Bus, all ...events.Event) {
	t.Helper()
	for _, e := range all {
		check(t, b.Publish(e))
	}
}

func ids(all []events.Event) []string {
	out := make([]string, len(all))
	for i, e := range all {
		out[i] = e.ID
	}
	return out
}

// streamIDs reads the ids in the stream, message by message, without anything
// of this package.
func streamIDs(t *testing.T, m *mesh, cluster string) []string {
	t.Helper()
	i := slices.IndexFunc(m.servers, func(s *Server) bool { return s != nil })
	nc, err := nats.Connect("nats://" + m.opts[i].Client)
	check(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	st, err := js.Stream(ctx, events.Stream(cluster))
	check(t, err)
	info, err := st.Info(ctx)
	check(t, err)
	var out []string
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		// AllowDirect lets a follower answer, which may be a moment behind.
		var msg *jetstream.RawStreamMsg
		until(t, "message is readable", func() bool {
			msg, err = st.GetMsg(ctx, seq)
			return err == nil || !errors.Is(err, jetstream.ErrMsgNotFound)
		})
		check(t, err)
		out = append(out, msg.Header.Get(nats.MsgIdHdr))
	}
	return out
}
