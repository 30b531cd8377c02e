package watch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"healer/api"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/localpg/pgtest"
	"healer/internal/watch"
	"healer/topology"
)

// terminal is a pseudo-terminal with what was written on it.
type terminal struct {
	t             *testing.T
	master, slave *os.File
	mu            sync.Mutex
	said          strings.Builder
	width, height uint16
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, master: master, slave: slave}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			x.mu.Lock()
			x.said.Write(buf[:n])
			x.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = slave.Close()
		_ = master.Close()
		<-read
	})
	return x
}

// resize changes the size, and says so as a kernel does to the program in front. All
// is drawn anew for it.
func (x *terminal) resize(width, height uint16) {
	x.t.Helper()
	x.width, x.height = width, height
	x.mu.Lock()
	x.said.Reset()
	x.mu.Unlock()
	if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		x.t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) press(keys string) {
	x.t.Helper()
	if _, err := x.master.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.said.String()
}

// shows waits until all of these are on the screen. Only what has changed is drawn, a
// letter of a word maybe; so the screen is made a line higher or lower now and then.
func (x *terminal) shows(words ...string) {
	x.t.Helper()
	looks := 0
	pgtest.Eventually(x.t, time.Minute, "the terminal shows "+strings.Join(words, ", "), func() error {
		text := ansi.Strip(x.text())
		for _, w := range words {
			if !strings.Contains(text, w) {
				if looks++; looks%redrawEvery == 0 {
					x.resize(x.width, x.height^1)
				}
				return fmt.Errorf("no %q in %q", w, text)
			}
		}
		return nil
	})
}

// redrawEvery is how many looks a frame may take.
const redrawEvery = 40

// agent answers as one does whose status is set.
type agent struct {
	mu sync.Mutex
	s  api.Status
}

func (a *agent) Status(context.Context) api.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.s
}

func (a *agent) set(s api.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.s = s
}

func status(name, life string) api.Status {
	s := api.Status{Cluster: "app", Agent: name, Mode: "auto", At: time.Now()}
	for _, n := range []string{"n1", "n2"} {
		s.Nodes = append(s.Nodes, api.Node{Name: n, Life: api.LifeUp, AgentAlive: true, Reachable: true, Ready: true})
	}
	s.Nodes[1].Life, s.Nodes[1].Reachable = life, life == api.LifeUp
	s.Slots = []api.Slot{{Node: "n1", For: "n2", Kind: topology.SlotRecovery, RetainedBytes: 5 << 20, WALStatus: "reserved"}}
	return s
}

// TestTerminal runs the command on a terminal, beside agents that speak the real API
// and a real NATS server, through a loss, the end of an agent and of the terminal's width.
func TestTerminal(t *testing.T) {
	ctx := t.Context()
	broker, err := natsbus.StartServer(ctx, natsbus.ServerOptions{
		Node: "solo", Cluster: "app", Client: pgtest.Addr(t), Route: pgtest.Addr(t), StoreDir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Shutdown(context.Background()) })
	var file strings.Builder
	fmt.Fprintf(&file, "cluster: app\nnats: {url: %q}\nwitnesses: [{name: w1, gossip: %q, api: %q}]\nnodes:\n", broker.URL(), pgtest.Addr(t), pgtest.Addr(t))
	agents, servers := map[string]*agent{}, map[string]*api.Server{}
	for i, n := range []string{"n1", "n2"} {
		agents[n] = &agent{s: status(n, api.LifeUp)}
		servers[n], err = api.New(api.Options{Addr: "127.0.0.1:0", Source: agents[n], Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = servers[n].Start(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = servers[n].Stop(context.Background()) })
		fmt.Fprintf(&file, "  - {name: %s, dsn: \"host=h port=%d dbname=app\", gossip: %q, api: %q}\n", n, i+1, pgtest.Addr(t), servers[n].Addr())
	}
	path := filepath.Join(t.TempDir(), "healer.yaml")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	x := newTerminal(t)
	x.resize(110, 34)
	check := func(s string) (string, error) { return s, nil }
	ended := make(chan int, 1)
	var say strings.Builder
	go func() {
		ended <- cli.App{
			Stdin: x.slave, Stdout: x.slave, Stderr: &say, Build: build.Read("v1"), CheckDSN: check,
			Commands: []*cobra.Command{watch.Command(check, []string{"TERM=xterm-256color"})},
		}.Run(ctx, []string{"watch", "--config", path, "--interval", "100ms"})
	}()
	x.shows("healer app", "by n1", "silent: w1", "5.0M", "none in the last hour", "? help")

	bus, err := natsbus.Connect(ctx, natsbus.Options{
		DialOptions: natsbus.DialOptions{Cluster: "app", InProcess: broker}, Agent: "n1", Replicas: 1, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bus.Close(context.Background()) }()
	agents["n1"].set(status("n1", api.LifeFailed))
	agents["n2"].set(status("n2", api.LifeFailed))
	e, err := events.New(events.Fact{Cluster: "app", Kind: events.NodeFailed, Node: "n2"}, "n1", time.Now(), events.Judged{Node: "n2", Reason: "connection refused"})
	if err == nil {
		err = bus.Publish(e)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.shows("degraded", "failed", "node.failed", "connection refused")

	if err := servers["n1"].Stop(ctx); err != nil {
		t.Fatal(err)
	}
	x.shows("silent: n1 w1")
	x.resize(60, 20)
	x.shows("by n2", "silent: n1 w1", "[nodes]")
	x.press("\t\t")
	x.shows("[healing]", "nothing to heal")
	x.press("?")
	x.shows("any key closes it")
	x.press("xq")
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("exit code %d: %s", code, say.String())
		}
	case <-time.After(time.Minute):
		t.Fatalf("q does not end it:\n%q", x.text())
	}
	pgtest.Eventually(t, time.Minute, "the terminal is given back", func() error {
		if !strings.Contains(x.text(), "\x1b[?1049l") {
			return errors.New("it is still the program's")
		}
		return nil
	})
}

// stream has the events that are told.
type stream chan events.Event

func (s stream) Events(context.Context, events.Filter) (<-chan events.Event, error) { return s, nil }

// TestOneAgent watches by the API of one agent alone: there is no file, and no NATS.
func TestOneAgent(t *testing.T) {
	told := make(stream, 1)
	srv, err := api.New(api.Options{Addr: "127.0.0.1:0", Source: &agent{s: status("n1", api.LifeFailed)}, Events: told, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = srv.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop(context.Background()) })
	x := newTerminal(t)
	x.resize(110, 34)
	ended := make(chan int, 1)
	go func() {
		ended <- cli.App{
			Stdin: x.slave, Stdout: x.slave, Stderr: x.slave, Build: build.Read("v1"),
			Commands: []*cobra.Command{watch.Command(nil, []string{"TERM=xterm-256color"})},
		}.Run(t.Context(), []string{"watch", "--api", srv.Addr(), "--interval", "100ms"})
	}()
	x.shows("healer app", "by n1", "failed", "none in the last hour")
	e, err := events.New(events.Fact{Cluster: "app", Kind: events.NodeFailed, Node: "n2"}, "n1", time.Now(), events.Judged{Node: "n2", Reason: "connection refused"})
	if err != nil {
		t.Fatal(err)
	}
	told <- e
	x.shows("node.failed", "connection refused")
	x.press("q")
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(time.Minute):
		t.Fatalf("q does not end it:\n%q", x.text())
	}
}
