package postgres

import (
	"context"
	"net"
	"sync"
	"time"
)

// newDialer makes connections whose end is noticed by keepalives. The attempt
// is bounded even where the driver makes it in the background.
func newDialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3,
	}}
}

// sockets are the connections of a pool, those included on which the driver
// cancels a statement in the background. Closing them is what bounds the end of
// a pool whose server hangs: the driver itself would wait for its answer.
type sockets struct {
	dialer *net.Dialer
	life   context.Context //nolint:containedctx // the life of the pool, ended by close
	end    context.CancelFunc

	mu   sync.Mutex
	open map[*socket]struct{}
}

type socket struct {
	net.Conn
	of *sockets
}

func newSockets(timeout time.Duration) *sockets {
	ctx, cancel := context.WithCancel(context.Background())
	return &sockets{dialer: newDialer(timeout), life: ctx, end: cancel, open: make(map[*socket]struct{})}
}

// dial is a pgconn.DialFunc.
func (s *sockets) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	conn, err := s.dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &socket{Conn: conn, of: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	s.open[c] = struct{}{}
	return c, nil
}

// Close implements net.Conn.
func (c *socket) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// close breaks all connections off and lets none be made any more.
func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	for c := range s.open {
		_ = c.Conn.Close()
	}
	clear(s.open)
}
