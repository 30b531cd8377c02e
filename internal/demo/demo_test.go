package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"healer/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOptions(t *testing.T) {
	with := func(f func(*Options)) Options { o := Defaults(); f(&o); return o }
	for name, c := range map[string]struct {
		o    Options
		want string // part of the error; empty: valid
	}{
		"defaults":        {Defaults(), ""},
		"seven nodes":     {with(func(o *Options) { o.Nodes, o.Kill = 7, "n7" }), ""},
		"two nodes":       {with(func(o *Options) { o.Nodes = 2 }), "--nodes 2"},
		"eight nodes":     {with(func(o *Options) { o.Nodes = 8 }), "--nodes 8"},
		"unknown node":    {with(func(o *Options) { o.Kill = "n4" }), `--kill "n4"`},
		"old PostgreSQL":  {with(func(o *Options) { o.Major = 15 }), "--pg 15"},
		"no rows":         {with(func(o *Options) { o.Rows = 0 }), "--rows 0"},
		"several at once": {with(func(o *Options) { o.Rows, o.Major = -1, 1 }), "--pg 1: it must be 16, 17 or 18\n--rows -1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.o.check()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("check() = %v, want %q", err, c.want)
			}
		})
	}
}

func TestRoles(t *testing.T) {
	for kill, want := range map[string][2]string{"n1": {"n2", "n3"}, "n2": {"n1", "n3"}, "n3": {"n1", "n2"}} {
		o := Defaults()
		o.Kill = kill
		if got := [2]string{o.ahead(), o.laggard()}; got != want {
			t.Errorf("kill %s: ahead and laggard are %v, want %v", kill, got, want)
		}
	}
}

// buffer is standard output and error of a run.
type streamsOf struct{ out, err bytes.Buffer }

// runWith runs the demo with a program in the place of healer, and checks that
// nothing of it is left.
func runWith(t *testing.T, ctx context.Context, program string, o Options) (Report, *streamsOf, error) { //nolint:revive // t first
	t.Helper()
	dir := filepath.Join(t.TempDir(), "demo")
	o.Program, o.Dir, o.JSON = program, dir, true
	if err := os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755); err != nil { // the servers' user must get there
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	var s streamsOf
	report, err := Run(ctx, o, IO{Out: &s.out, Err: &s.err})
	if _, serr := os.Stat(dir); !errors.Is(serr, os.ErrNotExist) {
		t.Errorf("the demo left %s behind: %v", dir, serr)
	}
	return report, &s, err
}

// TestAgentThatEnds: the demo says why, in one JSON object, and cleans up.
func TestAgentThatEnds(t *testing.T) {
	program := filepath.Join(t.TempDir(), "healer")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no such luck\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	report, s, err := runWith(t, t.Context(), program, Defaults())
	if err == nil || !strings.Contains(err.Error(), "no such luck") || report.Converged {
		t.Errorf("an agent that ends is no error: %v", err)
	}
	dec := json.NewDecoder(&s.out)
	var got Report
	if err := dec.Decode(&got); err != nil || got.Error == "" || got.PostgresVersion == "" || dec.More() {
		t.Errorf("standard output is not one report: %v, %+v", err, got)
	}
}

// TestInterruption ends the run at several moments of its start.
func TestInterruption(t *testing.T) {
	program := filepath.Join(t.TempDir(), "healer")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(after, cancel)
		if _, _, err := runWith(t, ctx, program, Defaults()); !errors.Is(err, ErrInterrupted) {
			t.Errorf("after %s: %v", after, err)
		}
		timer.Stop()
		cancel()
	}
}

func TestWatcher(t *testing.T) {
	w := newWatcher()
	old, err := events.New(events.Fact{Cluster: "demo", Kind: events.NodeFailed, Node: "n1"}, "n2", time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused, err := events.New(events.Fact{Cluster: "demo", Kind: events.RecoveryRefused, Node: "n1"}, "n2", time.Now(),
		events.Refused{Reason: "slot_missing"})
	if err != nil {
		t.Fatal(err)
	}
	w.arrived(old)
	since := time.Now()
	w.arrived(refused)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.await(ctx, since, events.NodeFailed, "n1"); err == nil || !strings.Contains(err.Error(), "slot_missing") {
		t.Errorf("an event of before must not count, and the refusal must be told: %v", err)
	}
	found := make(chan error)
	go func() {
		_, err := w.await(t.Context(), since, events.NodeFailed, "n1")
		found <- err
	}()
	w.arrived(old)
	if err := <-found; err != nil {
		t.Error(err)
	}
	if n := w.count()[events.NodeFailed]; n != 2 {
		t.Errorf("%d events were counted, want 2", n)
	}
}

// TestSweep removes what a killed demo left, and nothing of one that lives.
func TestSweep(t *testing.T) {
	base := t.TempDir()
	dead, alive, young := filepath.Join(base, dirPrefix+"1"), filepath.Join(base, dirPrefix+"2"), filepath.Join(base, dirPrefix+"3")
	for _, d := range []string{dead, alive, young} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dead, alive} {
		mark, err := own(d)
		if err != nil {
			t.Fatal(err)
		}
		defer mark.Close() //nolint:errcheck // a test's file
		if d == dead {
			if err := mark.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweep(base)
	left, err := filepath.Glob(filepath.Join(base, "*"))
	if err != nil || len(left) != 2 || left[0] != alive || left[1] != young {
		t.Errorf("left is %v, %v", left, err)
	}
}
