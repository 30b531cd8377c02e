package tail_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"healer/events"
	"healer/events/eventstest"
	"healer/events/natsbus"
	"healer/executor"
	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/cli/clitest"
	"healer/internal/tail"
	"healer/planner"
	"healer/postgres"
	"healer/topology"
)

// patience bounds every wait; it is no expectation of speed.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"healer": func() { os.Exit(healer()) }})
}

// healer is the program with nothing but this command.
func healer() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	check := func(dsn string) (string, error) {
		e, err := postgres.ParseEndpoint(dsn)
		return e.String(), err
	}
	return cli.App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
		Build: build.Read("v1"), CheckDSN: check, Commands: []*cobra.Command{tail.Command(check, os.Environ())},
	}.Run(ctx, os.Args[1:])
}

// broker runs a NATS server and returns an agent's bus on it, with its URL.
func broker(t *testing.T) (*natsbus.Bus, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s, err := natsbus.StartServer(ctx, natsbus.ServerOptions{Node: "n1", Cluster: "app", Client: "127.0.0.1:0", StoreDir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, s.Shutdown(context.Background())) })
	bus, err := natsbus.Connect(ctx, natsbus.Options{
		DialOptions: natsbus.DialOptions{Cluster: "app", InProcess: s}, Agent: "n1", Replicas: 1, Dir: t.TempDir(),
	})
	must(t, err)
	t.Cleanup(func() { must(t, bus.Close(context.Background())) })
	return bus, s.URL()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, bus *natsbus.Bus, k events.Kind, node string, at time.Time, data any) {
	t.Helper()
	e, err := events.New(events.Fact{Cluster: "app", Kind: k, Node: node, Recovery: "r1", Detail: []string{at.String()}}, "n1", at, data)
	must(t, err)
	eventstest.Check(t, e)
	must(t, bus.Publish(e))
}

// kept waits until the stream has all that was published.
func kept(t *testing.T, bus *natsbus.Bus) {
	t.Helper()
	limit, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for bus.Status().Pending > 0 {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("the stream takes nothing: %+v", bus.Status())
		}
	}
}

// clusterFile describes a cluster whose NATS is at url.
func clusterFile(t *testing.T, dir, url string) string {
	t.Helper()
	text := fmt.Sprintf("cluster: app\nnats: {url: %q}\nnodes:\n", url)
	for i := 1; i <= 3; i++ {
		text += fmt.Sprintf("  - {name: n%d, dsn: \"host=127.0.0.1 port=%d\", gossip: \"127.0.0.1:%d\", api: \"127.0.0.1:1%d\"}\n", i, i, i, i)
	}
	path := filepath.Join(dir, "app.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// TestScript shows a stream that holds the story of a recovery, a day of it. In
// silent.yaml nobody listens where NATS should be, in empty.yaml there is no stream.
// Run with UPDATE_SCRIPTS=1 to accept new output.
func TestScript(t *testing.T) {
	t.Parallel()
	bus, url := broker(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	for i, e := range []struct {
		kind events.Kind
		node string
		data any
	}{
		{events.NodeSuspected, "n3", events.Judged{Node: "n3", Reason: "n1 says: postmaster gone"}},
		{events.NodeFailed, "n3", events.Judged{Node: "n3", Reason: "n1, n2 say: postmaster gone (2 of 3 members, 2 needed)"}},
		{events.RecoveryPlanned, "n3", events.Planned{
			Plan: "recovery", Node: "n3", Watermark: 0x600, Final: true,
			Lanes: []events.PlannedLane{{Source: "n1", Target: "n2", To: 0x600}}, Steps: make([]events.PlannedStep, 7),
		}},
		{events.JournalEntry, "n3", executor.Entry{Event: executor.EntryStep, Step: &planner.Step{ID: "fence"}, State: "done"}},
		{events.RecoveryStep, "n3", events.Step{Kind: "fence", Node: "n1", State: "failed", DurationMS: 12, Error: "two\nlines and an \x1b[31mescape"}},
		{events.RecoveryRefused, "n3", events.Refused{Reason: "slot_lost", Why: "the slot for n2 has lost its WAL"}},
		{events.RecoveryVerified, "n3", events.Verified{TransactionsRecovered: 600, RowsCompared: 1200, RowsRepaired: 2, DurationMS: 1234}},
		{events.SlotAtRisk, "n1", events.Slot{Node: "n1", For: "n3", Slot: topology.Slot{Name: "spock_app_recovery_n1_n3"}, Why: "holds back 3 GiB"}},
		{events.ControlPaused, "", events.Said{Kind: "pause", By: "ada", Reason: "new disks", Until: at.Add(time.Hour)}},
		{events.NodeRejoined, "n3", events.Rejoined{DurationMS: 90}},
	} {
		publish(t, bus, e.kind, e.node, at.Add(time.Duration(i)*time.Second), e.data)
	}
	kept(t, bus)
	_, bare := broker(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": clitest.Code},
		Setup: func(env *testscript.Env) error {
			clusterFile(t, env.WorkDir, url)
			for name, url := range map[string]string{"silent": "nats://127.0.0.1:1", "empty": bare} {
				text, err := os.ReadFile(clusterFile(t, t.TempDir(), url))
				if err != nil {
					return err
				}
				if name == "empty" {
					text = append([]byte("cluster: other"), text[len("cluster: app"):]...)
				}
				if err := os.WriteFile(filepath.Join(env.WorkDir, name+".yaml"), text, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// TestFollow: what happens is shown while the command runs, each event once and as
// it is on NATS, and an interrupt ends it well.
func TestFollow(t *testing.T) {
	t.Parallel()
	bus, url := broker(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "healer", "events", "tail", "--config", clusterFile(t, t.TempDir(), url), "--node", "n2", "-o", "json")
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()

	// The first events may come before the command listens.
	var first string
	for i := 0; first == ""; i++ {
		publish(t, bus, events.NodeSuspected, "n2", time.UnixMilli(int64(i)), events.Judged{})
		select {
		case first = <-lines:
		case <-time.After(50 * time.Millisecond):
		}
	}
	if _, err := events.Decode([]byte(first)); err != nil {
		t.Fatalf("%s: %v", first, err)
	}
	publish(t, bus, events.NodeFailed, "n3", time.UnixMilli(1), events.Judged{})
	publish(t, bus, events.NodeFailed, "n2", time.UnixMilli(1), events.Judged{})
	publish(t, bus, events.NodeFailed, "n2", time.UnixMilli(1), events.Judged{})
	publish(t, bus, events.NodeReturned, "n2", time.UnixMilli(2), events.Judged{})
	var got []events.Kind
	for len(got) == 0 || got[len(got)-1] != events.NodeReturned {
		line, ok := <-lines
		if !ok {
			t.Fatalf("it ended after %v", got)
		}
		e, err := events.Decode([]byte(line))
		must(t, err)
		if e.Kind() == events.NodeSuspected {
			continue
		}
		if e.Subject != "n2" {
			t.Errorf("an event of %s is shown", e.Subject)
		}
		got = append(got, e.Kind())
	}
	if len(got) != 2 {
		t.Errorf("the same event is shown again: %v", got)
	}
	must(t, cmd.Process.Signal(os.Interrupt))
	for range lines {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
}
