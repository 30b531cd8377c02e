package chaoslab

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"healer/chaos/fault"
	"healer/internal/localpg"
)

// wire is one way to a server through a proxy. Faults of it add up: each ends alone.
type wire struct {
	name  string
	proxy *localpg.Proxy
	up    localpg.Direction // the direction to the peer
	dial  func(ctx context.Context, addr string) (net.Conn, error)

	mu    sync.Mutex
	bends map[*fault.Bend]struct{}
}

var _ fault.Wire = (*wire)(nil)

// NewWire is a wire through a proxy of the caller's: what flows over it says which
// direction is the peer's. The changes of a node flow from the server of the connection
// to its client, the peer; all else the other way.
func NewWire(name string, layer fault.Layer, proxy *localpg.Proxy) fault.Wire {
	return newWire(name, layer, proxy, dialHere)
}

func newWire(name string, layer fault.Layer, proxy *localpg.Proxy, dial func(context.Context, string) (net.Conn, error)) *wire {
	w := &wire{name: name, proxy: proxy, up: localpg.Up, dial: dial}
	if layer == fault.Replication {
		w.up = localpg.Down
	}
	return w
}

func dialHere(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp4", addr)
}

// Name implements fault.Wire.
func (w *wire) Name() string { return w.name }

// Bend implements fault.Wire.
func (w *wire) Bend(b fault.Bend) (undo func() error, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bends == nil {
		w.bends = map[*fault.Bend]struct{}{}
	}
	w.bends[&b] = struct{}{}
	w.apply(b)
	return func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, there := w.bends[&b]; !there {
			return nil
		}
		delete(w.bends, &b)
		err := w.proxy.Heal()
		for b := range w.bends {
			w.apply(*b)
		}
		return err
	}, nil
}

// apply makes one fault. A half-open wire takes new connections and says nothing, as a
// host that drops packets.
func (w *wire) apply(b fault.Bend) {
	switch b.Cut {
	case fault.Both:
		w.proxy.Cut()
	case fault.ToPeer:
		w.proxy.Stall(w.up)
	case fault.FromPeer:
		w.proxy.Stall(1 - w.up)
	}
	if b.HalfOpen {
		w.proxy.Cut()
		w.proxy.Orphan()
	}
	if b.Delay > 0 {
		w.proxy.Delay(b.Delay)
	}
	if b.Rate > 0 {
		w.proxy.Narrow(b.Rate)
	}
	if b.Refuse {
		w.proxy.Refuse()
	}
}

// Reset implements fault.Wire.
func (w *wire) Reset() (int, error) {
	n := w.proxy.Connections()
	w.proxy.Sever()
	return n, nil
}

// sslRequest is what a client of PostgreSQL may ask before it says who it is. Every
// server answers it with one byte.
func sslRequest() []byte { return []byte{0, 0, 0, 8, 4, 210, 22, 47} }

// Probe implements fault.Wire.
func (w *wire) Probe(ctx context.Context, within time.Duration) (time.Duration, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := w.dial(ctx, w.proxy.Addr())
	if err != nil {
		return time.Since(begin), deadline(ctx, err)
	}
	defer conn.Close() //nolint:errcheck // it was only to ask
	if err := conn.SetDeadline(begin.Add(within)); err != nil {
		return 0, err
	}
	if _, err := conn.Write(sslRequest()); err != nil {
		return time.Since(begin), err
	}
	_, err = conn.Read(make([]byte, 1))
	return time.Since(begin), err
}

// deadline makes one error of the two for a limit that has passed.
func deadline(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return os.ErrDeadlineExceeded
	}
	return err
}
