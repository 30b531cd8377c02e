package localpg

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// gate is open or shut; who comes to a shut gate waits.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
		g.opened = make(chan struct{})
	default:
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}

// pass waits until the gate is open; false when the context ended first.
func (g *gate) pass(ctx context.Context) bool {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return true
	case <-ctx.Done():
	}
	select {
	case <-opened: // both at once: the way was free
		return true
	default:
		return false
	}
}

// duplex is one connection through a proxy: the client's side and, once dialled,
// the server's.
type duplex struct {
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	client *net.TCPConn

	mu       sync.Mutex
	upstream *net.TCPConn
	alone    bool // the server's side is gone, and the client does not know
}

// newDuplex takes a TCP connection; there are no others here.
func newDuplex(client net.Conn) (*duplex, bool) {
	tcp, ok := client.(*net.TCPConn)
	if !ok {
		return nil, false
	}
	c := &duplex{client: tcp}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, true
}

// whileWaiting runs wait, and meanwhile takes what the client sends, only to see
// whether it stays: the end of its stream ends wait's context. It returns what
// came, and whether wait succeeded.
func (c *duplex) whileWaiting(wait func(context.Context) bool) (early []byte, passed bool) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		buf := make([]byte, 4<<10)
		for len(early) < maxEarly {
			n, err := c.client.Read(buf)
			early = append(early, buf[:n]...)
			if err != nil {
				cancel()
				return
			}
		}
	}()
	passed = wait(ctx)
	_ = c.client.SetReadDeadline(time.Unix(1, 0)) // ends the read
	<-idle
	return early, passed && c.client.SetReadDeadline(time.Time{}) == nil
}

// maxEarly bounds what is taken from a client before it has a server.
const maxEarly = 64 << 10

// setUpstream adds the server's side; false when the connection was reset in the
// meantime.
func (c *duplex) setUpstream(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	tcp, ok := conn.(*net.TCPConn)
	if !ok || c.ctx.Err() != nil {
		_ = conn.Close()
		return false
	}
	c.upstream = tcp
	return true
}

// reset ends both sides with RST; what was not read is lost. After both streams
// ended by themselves it only frees the sockets.
func (c *duplex) reset() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range []*net.TCPConn{c.client, c.upstream} {
		if conn != nil {
			_ = conn.SetLinger(0)
			_ = conn.Close()
		}
	}
}

// orphan ends the server's side with RST, without a word to the client.
func (c *duplex) orphan() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.upstream != nil {
		c.alone = true
		_ = c.upstream.SetLinger(0)
		_ = c.upstream.Close()
	}
}

func (c *duplex) orphaned() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alone
}

// end passes on how one direction ended: an orderly end as such, all else as a
// reset.
func (c *duplex) end(to *net.TCPConn, err error) {
	if !errors.Is(err, io.EOF) || to.CloseWrite() != nil {
		c.reset()
	}
}
