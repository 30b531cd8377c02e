package natsbus

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"healer/events"
	"healer/events/eventstest"
)

const (
	// crashDir is set for the process that is killed: the outbox to use.
	crashDir     = "HEALER_TEST_CRASH_DIR"
	crashCluster = "crash"
	crashEvents  = 50
)

// crashingProcess is the test binary run as an agent without NATS: it publishes
// and waits to be killed.
func crashingProcess(dir string) {
	all := eventstest.MakeN(&testing.T{}, crashCluster, events.RecoveryStep, crashEvents)
	b, err := Connect(context.Background(), Options{
		DialOptions: DialOptions{Cluster: crashCluster, URLs: []string{"nats://127.0.0.1:1"}},
		Agent:       "n1", Replicas: 1, Dir: dir,
	})
	for i := 0; err == nil && i < len(all); i++ {
		err = b.Publish(all[i])
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("published")
	select {}
}

func TestKilledAgentsEventsAreDeliveredByTheNext(t *testing.T) {
	m := single(t)
	o := busOptions(t, m, 0, crashCluster)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+o.Dir)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "published\n" {
		t.Errorf("the agent says %q, %v", line, err)
	}
	if _, err := Connect(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second agent opened the outbox of a running one: %v", err)
	}
	check(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil || t.Failed() {
		t.Fatal("the agent was not killed while it ran")
	}

	// As if the machine had gone down amid the next write.
	files, err := filepath.Glob(filepath.Join(o.Dir, "*.seg"))
	check(t, err)
	f, err := os.OpenFile(files[len(files)-1], os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	_, err = f.Write([]byte{0, 0, 0, 0, 0, 0, 1, 0, 0xde, 0xad, 0xbe, 0xef, 'M', 0, 0})
	check(t, err)
	check(t, f.Close())

	all := eventstest.MakeN(t, crashCluster, events.RecoveryStep, crashEvents+1)
	b := connect(t, o)
	publish(t, b, all[crashEvents])
	drained(t, b)
	if d := cmp.Diff(ids(all), streamIDs(t, m, crashCluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
}

// spoil changes a byte of a message in the outbox's files.
func spoil(t *testing.T, dir, id string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	check(t, err)
	for _, path := range files {
		data, err := os.ReadFile(path)
		check(t, err)
		if i := bytes.Index(data, []byte(id)); i >= 0 {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			check(t, err)
			_, err = f.WriteAt([]byte{data[i] ^ 1}, int64(i))
			check(t, err)
			check(t, f.Close())
			return
		}
	}
	t.Fatalf("no file has the event %s", id)
}
