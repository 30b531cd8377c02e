package gossip_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"healer/detector"
	"healer/detector/gossip"
	"healer/topology"
)

// recorder is an Inbox that keeps what it was given.
type recorder struct {
	mu    sync.Mutex
	heard []detector.Evidence
	state []detector.Evidence
	news  chan struct{}
}

func (r *recorder) Receive(_ string, es []detector.Evidence) {
	r.mu.Lock()
	r.heard = append(r.heard, es...)
	r.mu.Unlock()
	if r.news != nil {
		select {
		case r.news <- struct{}{}:
		default:
		}
	}
}

func (r *recorder) State() []detector.Evidence { return r.state }
func (r *recorder) AgentsChanged()             {}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.heard)
}

// freeAddr is an address that was free a moment ago, for TCP and UDP.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // as above
	return l.Addr().String()
}

// Over real sockets: evidence, a full state and a farewell arrive, and nothing
// is left behind.
func TestRealSockets(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	a, b := freeAddr(t), freeAddr(t)
	members := []gossip.Member{{Name: "n1", Addr: a}, {Name: "n2", Addr: b}}
	first, second := &recorder{}, &recorder{news: make(chan struct{}, 1)}
	first.state = []detector.Evidence{{Observer: "n1", Subject: "n2", Seq: 1, Condition: detector.Answered}}
	g1, g2 := startGossip(t, "n1", members, first), startGossip(t, "n2", members, second)

	await(t, second, "the full state", func(e detector.Evidence) bool { return e.Seq == 1 })
	for range 3 {
		g1.Send([]detector.Evidence{{Observer: "n1", Subject: "n2", Seq: 2, Condition: detector.Refused}}, true)
	}
	await(t, second, "evidence", func(e detector.Evidence) bool { return e.Seq == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := g1.Stop(ctx, []detector.Evidence{{Observer: "n1", Subject: "n1", Seq: 3, Condition: detector.Leaving}}); err != nil {
		t.Error(err)
	}
	await(t, second, "the farewell", func(e detector.Evidence) bool { return e.Condition == detector.Leaving })
	if err := g2.Stop(ctx, nil); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, ignore)
}

func startGossip(t *testing.T, self string, members []gossip.Member, in detector.Inbox) *gossip.Gossip {
	t.Helper()
	g, err := gossip.New(gossip.Config{Self: self, Cluster: "test", Members: members, Log: discard()})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return g
}

// await waits until r has heard what ok accepts.
func await(t *testing.T, r *recorder, what string, ok func(detector.Evidence) bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		for _, e := range r.heard {
			if ok(e) {
				r.mu.Unlock()
				return
			}
		}
		r.mu.Unlock()
		select {
		case <-r.news:
		case <-limit:
			t.Fatalf("%s did not arrive", what)
		}
	}
}

func TestBindFailureNamesAddressAndRemedy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // as above
	g, err := gossip.New(gossip.Config{
		Self: "n1", Cluster: "test", Log: discard(),
		Members: []gossip.Member{{Name: "n1", Addr: l.Addr().String()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = g.Start(t.Context(), &recorder{})
	var f *topology.Fault
	if !errors.As(err, &f) || f.Code != "gossip_bind" || f.Node != "n1" || !strings.Contains(f.Hint, l.Addr().String()) {
		t.Errorf("error %v", err)
	}
	if err := g.Stop(t.Context(), nil); err != nil {
		t.Errorf("stop of what never started: %v", err)
	}
}
