package gossip_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"healer/detector"
	"healer/topology"
)

// world is the PostgreSQL servers, as probers meet them.
type world struct {
	mu      sync.Mutex
	servers map[string]*server
	cut     map[[2]string]bool // observer, server: no packet passes
}

// server is one life of a server.
type server struct {
	id   topology.Identity
	gone chan struct{} // closed when it is killed
	hung chan struct{} // closed when it answers; replaced when it hangs
}

func newWorld(names ...string) *world {
	w := &world{servers: map[string]*server{}, cut: map[[2]string]bool{}}
	for i, n := range names {
		w.start(n, uint64(i+1), 1_700_000_000_000_000) //nolint:gosec // small
	}
	return w
}

func open() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// start begins a life of the server.
func (w *world) start(name string, system uint64, started int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[name] = &server{
		id:   topology.Identity{SystemID: system, Timeline: 1, StartedAt: started},
		gone: make(chan struct{}), hung: open(),
	}
}

// restart begins the next life of a server that was killed.
func (w *world) restart(name string) {
	id := w.at(name).id
	w.start(name, id.SystemID, id.StartedAt+1_000_000)
}

func (w *world) kill(name string) { close(w.at(name).gone) }

func (w *world) hang(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[name].hung = make(chan struct{})
}

func (w *world) wake(name string) { close(w.at(name).hung) }

func (w *world) at(name string) server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.servers[name]
}

// sever cuts or mends the way from an observer to a server.
func (w *world) sever(observer, name string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{observer, name}] = cut
}

func (w *world) severed(observer, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[[2]string{observer, name}]
}

// prober is how observer meets one server.
type prober struct {
	w              *world
	observer, name string
}

// latency is what an answer takes.
const latency = time.Millisecond

func fault(c detector.Condition) error {
	return &detector.ProbeError{Condition: c, Err: errors.New(string(c))}
}

func (p prober) Connect(ctx context.Context, dial time.Duration, taken func()) (detector.Session, error) {
	if p.w.severed(p.observer, p.name) {
		if wait(ctx, dial) {
			return nil, fault(detector.HostSilent)
		}
		return nil, fault(detector.Hung)
	}
	s := p.w.at(p.name)
	if !wait(ctx, latency) {
		return nil, fault(detector.Hung)
	}
	select {
	case <-s.gone:
		return nil, fault(detector.Refused)
	default:
	}
	taken()
	select {
	case <-s.hung:
		return &session{prober: p, server: s}, nil
	case <-s.gone:
		return nil, fault(detector.EOF)
	case <-ctx.Done():
		return nil, fault(detector.Hung)
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

type session struct {
	prober
	server server
}

func (s *session) Identity() topology.Identity { return s.server.id }
func (s *session) Close()                      {}

// Unanswered says how the network looks from here.
func (s *session) Unanswered() detector.Condition {
	if s.w.severed(s.observer, s.name) {
		return detector.HostSilent
	}
	return detector.Hung
}

func (s *session) Ping(ctx context.Context) error {
	if !wait(ctx, latency) || s.w.severed(s.observer, s.name) {
		<-ctx.Done()
		return fault(detector.Hung)
	}
	select {
	case <-s.server.gone:
		return fault(detector.EOF) // the dead do not answer
	default:
	}
	select {
	case <-s.server.gone:
		return fault(detector.EOF)
	case <-s.w.at(s.name).hung:
		return nil
	case <-ctx.Done():
		return fault(detector.Hung)
	}
}

func (s *session) Wait(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	gone := s.server.gone
	if s.w.severed(s.observer, s.name) {
		gone = nil // the reset does not arrive either
	}
	select {
	case <-gone:
		return fault(detector.EOF)
	case <-ctx.Done():
		return nil
	}
}
