package probe_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"healer/detector"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres/probe"
)

// alone is the gossip of an agent without others.
type alone struct{}

func (alone) Start(context.Context, detector.Inbox) error             { return nil }
func (alone) Send([]detector.Evidence, bool)                          {}
func (alone) Tell(context.Context, string, []detector.Evidence) error { return nil }
func (alone) Agents() []string                                        { return []string{"n1"} }
func (alone) Stop(context.Context, []detector.Evidence) error         { return nil }

// counter looks at the open connections whenever one more is opened.
type counter struct {
	detector.Prober
	most *int
	open func() int
}

// Connect implements detector.Prober.
func (c counter) Connect(ctx context.Context, dial time.Duration, taken func()) (detector.Session, error) {
	s, err := c.Prober.Connect(ctx, dial, func() {
		*c.most = max(*c.most, c.open())
		taken()
	})
	return s, err
}

// established counts this machine's client sockets to a port of the loopback.
func established(t *testing.T, port int) int {
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	to, n := fmt.Sprintf("0100007F:%04X", port), 0
	for _, line := range strings.Split(string(b), "\n") {
		// Columns: number, local address, remote address, state (1: established).
		if f := strings.Fields(line); len(f) > 3 && f[2] == to && f[3] == "01" {
			n++
		}
	}
	return n
}

// An agent keeps one connection to a server that hangs, however long and however
// often it gives one up, and is served by it as soon as it wakes.
func TestProbesDoNotPileUpOnAFrozenServer(t *testing.T) {
	srv := pgtest.Server(t, localpg.ServerOptions{})
	p, err := probe.New(srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	port := srv.Port()
	d, err := detector.New(detector.Options{
		Self: "n1", Members: []string{"n1"}, Gossip: alone{}, Log: slog.New(slog.DiscardHandler),
		Probers: map[string]detector.Prober{"n1": counter{p, &most, func() int { return established(t, port) }}},
		Timing:  detector.Timing{ProbeInterval: 50 * time.Millisecond, ProbeTimeout: 100 * time.Millisecond, ProbeAbandon: 200 * time.Millisecond},
		Rules:   detector.Rules{SilentAfter: 2 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
	defer cancel()
	if err := d.Start(ctx); err != nil {
		t.Fatal(err)
	}
	changes := d.Watch(ctx)
	await := func(life detector.Life) {
		t.Helper()
		for v := range changes {
			if v.Life == life {
				return
			}
		}
		t.Fatalf("it is never %s", life)
	}
	await(detector.LifeUp)
	if err := srv.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	await(detector.LifeFailed) // two seconds of silence: several connections were given up
	srv.Thaw()
	await(detector.LifeReturning)
	if err := d.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if most != 1 {
		t.Errorf("there were %d connections at once", most)
	}
}
