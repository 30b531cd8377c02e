package natsbus

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/events"
	"healer/events/eventstest"
)

// serverProcess is set for the process that is a NATS server and is killed: its
// ServerOptions as JSON.
const serverProcess = "HEALER_TEST_SERVER"

// runServerProcess is the test binary run as a NATS server.
func runServerProcess(options string) {
	var o ServerOptions
	err := json.Unmarshal([]byte(options), &o)
	if err == nil {
		_, err = StartServer(context.Background(), o)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("started")
	select {}
}

// startProcess starts server i of m as a process and returns what kills it.
func startProcess(t *testing.T, m *mesh, i int) (kill func()) {
	t.Helper()
	o := m.opts[i]
	o.Log = nil
	raw, err := json.Marshal(o)
	check(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), serverProcess+"="+string(raw))
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	killed := false
	kill = func() {
		if !killed {
			killed = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it says that the process was killed
		}
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "started\n" {
		t.Fatalf("the server says %q, %v", line, err)
	}
	return kill
}

// The host of the stream's leader dies without a word: for some seconds
// JetStream takes nothing. Nobody who listens has to wait for that.
func TestStreamLeaderIsKilledWhilePublishing(t *testing.T) {
	m, err := newMesh(t.TempDir(), 3)
	check(t, err)
	t.Cleanup(func() { check(t, m.stopAll()) })
	check(t, m.start(0))
	check(t, m.start(1))
	kill := startProcess(t, m, 2)

	const cluster = "killed"
	b := connect(t, busOptions(t, m, 0, cluster))
	until(t, "three replicas", func() bool { return b.Status().StreamReady && b.Status().Replicas == 3 })
	nc, _ := admin(t, m)
	until(t, "the process leads the stream", func() bool {
		if leader(t, m, cluster) == 2 {
			return true
		}
		req := `{"placement":{"preferred":"` + m.opts[2].Node + `"}}`
		_, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+events.Stream(cluster), []byte(req), apiTimeout)
		if err != nil {
			t.Logf("stepdown: %v", err)
		}
		return false
	})

	listener := ready(t, connect(t, busOptions(t, m, 1, cluster)))
	var live, stored eventstest.Inbox
	for in, f := range map[*eventstest.Inbox]events.Filter{&live: {}, &stored: {InOrder: true}} {
		stop, err := listener.Subscribe(t.Context(), f, in.Put)
		check(t, err)
		defer stop()
	}
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, 60)
	publish(t, b, all[:20]...)
	stored.Await(t, 1)
	kill() // some of the twenty are on their way
	publish(t, b, all[20:]...)
	got := live.Await(t, len(all))
	t.Logf("when all were delivered live, %d of %d were not in the stream", b.Status().Pending, len(all))
	slices.SortFunc(got, byDetail)
	if d := cmp.Diff(all, got); d != "" {
		t.Errorf("live (-want +got):\n%s", d)
	}
	if d := cmp.Diff(ids(all), ids(stored.Await(t, len(all)))); d != "" {
		t.Errorf("stored (-want +got):\n%s", d)
	}
	drained(t, b)
	if d := cmp.Diff(ids(all), streamIDs(t, m, cluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
}

// The server of a listener dies, and JetStream with it. What is published before
// the listener has found another server reaches it all the same.
func TestListenersServerIsKilled(t *testing.T) {
	m, err := newMesh(t.TempDir(), 3)
	check(t, err)
	t.Cleanup(func() { check(t, m.stopAll()) })
	check(t, m.start(0))
	kill1, kill2 := startProcess(t, m, 1), startProcess(t, m, 2)

	const cluster = "orphaned"
	b := connect(t, busOptions(t, m, 0, cluster))
	until(t, "three replicas", func() bool { return b.Status().StreamReady && b.Status().Replicas == 3 })
	listener, err := Dial(t.Context(), DialOptions{Cluster: cluster, URLs: []string{"nats://" + m.opts[2].Client, "nats://" + m.opts[0].Client}})
	check(t, err)
	t.Cleanup(listener.Close)
	until(t, "the listener is connected", listener.Connected)
	var live eventstest.Inbox
	stop, err := listener.Subscribe(t.Context(), events.Filter{}, live.Put)
	check(t, err)
	defer stop()

	kill1()
	kill2()
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, 3)
	publish(t, b, all...)
	got := live.Await(t, len(all))
	slices.SortFunc(got, byDetail)
	if d := cmp.Diff(all, got); d != "" {
		t.Errorf("live (-want +got):\n%s", d)
	}
	if n := b.Status().Pending; n != len(all) {
		t.Errorf("%d of %d events wait for the stream, which has no quorum", n, len(all))
	}
}
