package app_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"healer/events"
	"healer/events/natsbus"
	"healer/executor"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// NATS wholly gone keeps no healing waiting; when it is back, it is told of
// everything that happened meanwhile: each event once, and those of one agent in
// the order in which they happened.
func TestHealingWithoutNATS(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{}, nil)
	store, addr := t.TempDir(), pgtest.Addr(t)
	c.cfg.NATS.URL = "nats://" + addr
	broker := func() *natsbus.Server {
		s, err := natsbus.StartServer(context.Background(), natsbus.ServerOptions{Node: "broker", Cluster: c.cfg.Cluster, Client: addr, StoreDir: store})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := broker()
	c.startAll()
	c.lag(50)
	if err := first.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.recovered("n2", "n1", "n2", "n3")
	c.equal("n2", "n3")
	if s, err := c.status("n2"); err != nil || s.NATS.Connected || s.NATS.OutboxDepth == 0 {
		t.Fatalf("the recovery was not one without NATS: %+v, %v", s.NATS, err)
	}

	second := broker()
	t.Cleanup(func() {
		c.stopAll()
		_ = second.Shutdown(context.Background())
	})
	bus, err := natsbus.Dial(context.Background(), natsbus.DialOptions{Cluster: c.cfg.Cluster, URLs: []string{second.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	var mu sync.Mutex
	var got []events.Event
	if _, err := bus.Subscribe(context.Background(), events.Filter{Kinds: ">", From: events.FromStart(), InOrder: true}, func(e events.Event) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e)
	}); err != nil {
		t.Fatal(err)
	}
	c.eventually("every agent's outbox is empty, and all is told", func() error {
		for _, n := range c.mesh.Names() {
			if s, err := c.status(n); err != nil || s.NATS.OutboxDepth > 0 {
				return fmt.Errorf("%s: %+v, %w", n, s.NATS, err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		return story(got)
	})
}

// story is an error unless the events tell of a recovery, each once and in order: of
// the journal, which is numbered, every entry behind the one before it.
func story(got []events.Event) error {
	ids, next := map[string]bool{}, map[string]int{}
	var kinds []events.Kind
	for _, e := range got {
		if ids[e.ID] {
			return fmt.Errorf("event %s, %s, came twice", e.ID, e.Kind())
		}
		ids[e.ID] = true
		if e.Kind() == events.JournalEntry {
			entry, err := executor.EntryFrom(e)
			if err != nil {
				return err
			}
			if next[entry.Run]++; entry.Seq != next[entry.Run] {
				return fmt.Errorf("entry %d of run %s came in the place of %d", entry.Seq, entry.Run, next[entry.Run])
			}
			continue
		}
		kinds = append(kinds, e.Kind())
	}
	if !slices.Contains(kinds, events.NodeFailed) || len(next) == 0 {
		return fmt.Errorf("no death, or no journal, in %v", kinds)
	}
	at := 0
	for _, want := range []events.Kind{events.RecoveryPlanned, events.RecoveryStarted, events.RecoveryStep, events.RecoveryVerified} {
		i := slices.Index(kinds[at:], want)
		if i < 0 {
			return fmt.Errorf("no %s behind the one before it in %v", want, kinds)
		}
		at += i + 1
	}
	return nil
}
