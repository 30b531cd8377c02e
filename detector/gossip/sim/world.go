package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"healer/detector"
	"healer/topology"
)

// World is the PostgreSQL servers, as probers meet them.
type World struct {
	mu      sync.Mutex
	servers map[string]*server
	cut     map[[2]string]bool // observer, server: no packet passes
	frozen  map[string]chan struct{}
}

// server is one life of a server.
type server struct {
	id   topology.Identity
	gone chan struct{} // closed when it is killed
	hung chan struct{} // closed when it answers; replaced when it hangs
}

// NewWorld starts a server of each name.
func NewWorld(names ...string) *World {
	w := &World{servers: map[string]*server{}, cut: map[[2]string]bool{}, frozen: map[string]chan struct{}{}}
	for i, n := range names {
		w.start(n, uint64(i+1), 1_700_000_000_000_000)
	}
	return w
}

func open() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// start begins a life of the server.
func (w *World) start(name string, system uint64, started int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[name] = &server{
		id:   topology.Identity{SystemID: system, Timeline: 1, StartedAt: started},
		gone: make(chan struct{}), hung: open(),
	}
}

// Restart begins the next life of a server that was killed.
func (w *World) Restart(name string) {
	id := w.at(name).id
	w.start(name, id.SystemID, id.StartedAt+1_000_000)
}

// Kill ends the server, as SIGKILL does.
func (w *World) Kill(name string) { close(w.at(name).gone) }

// Hang makes the server accept and not answer, as SIGSTOP does.
func (w *World) Hang(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[name].hung = make(chan struct{})
}

// Wake ends that.
func (w *World) Wake(name string) { close(w.at(name).hung) }

func (w *World) at(name string) server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.servers[name]
}

// Sever cuts or mends the way from an observer to a server.
func (w *World) Sever(observer, name string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{observer, name}] = cut
}

func (w *World) severed(observer, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[[2]string{observer, name}]
}

// Freeze stops an observer, as SIGSTOP does to an agent, or lets it go on: what it
// waits for takes until then, whatever its deadline.
func (w *World) Freeze(observer string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch was := w.frozen[observer]; {
	case on && was == nil:
		w.frozen[observer] = make(chan struct{})
	case !on && was != nil:
		close(was)
		delete(w.frozen, observer)
	}
}

// thaw waits until the observer is not frozen.
func (w *World) thaw(observer string) {
	w.mu.Lock()
	c := w.frozen[observer]
	w.mu.Unlock()
	if c != nil {
		<-c
	}
}

// Prober is how observer meets the named server.
func (w *World) Prober(observer, name string) detector.Prober { return prober{w, observer, name} }

// prober is how observer meets one server.
type prober struct {
	w              *World
	observer, name string
}

// latency is what an answer takes.
const latency = time.Millisecond

func fault(c detector.Condition) error {
	return &detector.ProbeError{Condition: c, Err: errors.New(string(c))}
}

// Connect implements detector.Prober.
func (p prober) Connect(ctx context.Context, dial time.Duration, taken func()) (detector.Session, error) {
	defer p.w.thaw(p.observer)
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

// Identity implements detector.Session.
func (s *session) Identity() topology.Identity { return s.server.id }

// Unanswered says how the network looks from here.
func (s *session) Unanswered() detector.Condition {
	if s.w.severed(s.observer, s.name) {
		return detector.HostSilent
	}
	return detector.Hung
}

// Close implements detector.Session.
func (s *session) Close() {}

// Ping implements detector.Session.
func (s *session) Ping(ctx context.Context) error {
	defer s.w.thaw(s.observer)
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

// Wait implements detector.Session.
func (s *session) Wait(ctx context.Context, until time.Time) error {
	defer s.w.thaw(s.observer)
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
