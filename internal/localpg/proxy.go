package localpg

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is one of the two ways through a Proxy.
type Direction int

const (
	// Up is from the client to the server.
	Up Direction = iota
	// Down is from the server to the client.
	Down
	directions
)

// Proxy is a TCP proxy on 127.0.0.1 that plays a network which fails. It keeps
// its address whatever it plays.
//
// A stalled direction is a network that drops every packet, as TCP sees it: no
// byte arrives, none is lost, the connections stay, and after Heal they go on
// where they were. (A proxy that dropped bytes would corrupt the protocol
// inside, which no network does.) New connections are taken and stall too.
//
// Two things differ from a real network. The sender's kernel gets its bytes
// acknowledged, so only timeouts above TCP notice a stall. And a server that is
// down shows as a connection that is reset at once, not as a refused one.
type Proxy struct {
	upstream string
	lease    *portLease // nil when the address was chosen
	addr     string
	gates    [directions]*gate
	open     Listen

	mu       sync.Mutex
	listener net.Listener // nil while connections are refused
	conns    map[*duplex]struct{}
	delay    time.Duration
	rate     int // bytes a second in each direction of each connection; 0: no limit
	closed   bool
	wg       sync.WaitGroup // the accept loop and the connections
}

// Listen opens the listener of a proxy. It may do so in another network.
type Listen func(ctx context.Context, addr string) (net.Listener, error)

// StartProxy starts a proxy in front of upstream, a host:port.
func StartProxy(upstream string) (*Proxy, error) {
	return StartProxyIn(upstream, listenHere)
}

// StartProxyAt starts a proxy that listens at an address of the caller's choice.
func StartProxyAt(listen, upstream string) (*Proxy, error) {
	p := newProxy(upstream, listenHere)
	p.addr = listen
	if err := p.listen(context.Background()); err != nil {
		return nil, fmt.Errorf("proxy of %s: %w", upstream, err)
	}
	return p, nil
}

// StartProxyIn starts a proxy whose clients are in another network, on whose 127.0.0.1
// open listens; nil is this network.
func StartProxyIn(upstream string, open Listen) (*Proxy, error) {
	if open == nil {
		open = listenHere
	}
	c, err := openCache(account{})
	if err != nil {
		return nil, err
	}
	return c.startProxyIn(context.Background(), upstream, open)
}

func listenHere(ctx context.Context, addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", addr)
}

func (c *cache) startProxy(ctx context.Context, upstream string) (*Proxy, error) {
	return c.startProxyIn(ctx, upstream, listenHere)
}

func (c *cache) startProxyIn(ctx context.Context, upstream string, open Listen) (*Proxy, error) {
	var err error
	for range portTries {
		p := newProxy(upstream, open)
		if p.lease, err = c.leasePort(ctx); err != nil {
			break
		}
		p.addr = fmt.Sprintf("%s:%d", loopback, p.lease.port)
		if err = p.listen(ctx); err == nil {
			return p, nil
		}
		p.lease.release()
	}
	return nil, fmt.Errorf("proxy of %s: %w", upstream, err)
}

func newProxy(upstream string, open Listen) *Proxy {
	return &Proxy{upstream: upstream, open: open, conns: map[*duplex]struct{}{}, gates: [directions]*gate{newGate(), newGate()}}
}

// listen begins to take connections. It is called with the lock held, or before
// anybody else knows the proxy.
func (p *Proxy) listen(ctx context.Context) error {
	l, err := p.open(ctx, p.Addr())
	if err != nil {
		return err
	}
	p.listener = l
	p.wg.Go(func() { p.accept(l) }) //nolint:contextcheck // a proxy outlives the context of its start
	return nil
}

// Port is the TCP port on 127.0.0.1, of a proxy whose address was not chosen.
func (p *Proxy) Port() int { return p.lease.port }

// Addr is the proxy's host:port.
func (p *Proxy) Addr() string { return p.addr }

// Cut stalls both directions: what a network partition looks like.
func (p *Proxy) Cut() { p.Stall(Up, Down) }

// Stall stalls the given directions. A chunk that the proxy has read already
// stays in it until Heal.
func (p *Proxy) Stall(ds ...Direction) {
	for _, d := range ds {
		p.gates[d].shut()
	}
}

// Delay adds a latency to each chunk of at most 64 KB in both directions; zero
// takes it away.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Narrow lets so many bytes a second through each direction of each connection; zero
// takes the limit away.
func (p *Proxy) Narrow(bytesPerSecond int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytesPerSecond
}

// Orphan resets the server's side of the connections that exist, of which the clients
// hear nothing: half-open connections, as when a server's host has gone and come back.
// A client that sends something then is reset, once its bytes pass.
func (p *Proxy) Orphan() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.orphan()
	}
	return len(p.conns)
}

// Sever resets the connections that exist. Bytes that are on their way are lost
// with them. New connections are taken.
func (p *Proxy) Sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.reset()
	}
}

// Refuse resets the connections and refuses new ones until Heal: what the end of
// a server process looks like.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Sever()
}

// Heal ends every fault. It fails only when the port was taken by a foreign
// program while connections were refused.
func (p *Proxy) Heal() error {
	p.Delay(0)
	p.Narrow(0)
	for _, g := range p.gates {
		g.open()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return nil
	}
	if err := p.listen(context.Background()); err != nil {
		return fmt.Errorf("heal the proxy of %s: %w", p.upstream, err)
	}
	return nil
}

// Connections is how many connections go through the proxy now.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Close resets the connections, ends the proxy and waits for its goroutines. It
// may be called again.
func (p *Proxy) Close() {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	p.mu.Unlock()
	if was {
		return
	}
	p.Refuse()
	p.wg.Wait()
	p.lease.release()
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // closed by Refuse
		}
		c, ok := newDuplex(client)
		if !ok {
			continue
		}
		p.mu.Lock()
		if p.listener != l {
			p.mu.Unlock()
			c.reset()
			continue
		}
		p.conns[c] = struct{}{}
		p.wg.Go(func() {
			p.relay(c)
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		})
		p.mu.Unlock()
	}
}

// relay serves one connection until both directions have ended.
func (p *Proxy) relay(c *duplex) {
	defer c.reset()
	// Not even the handshake goes through a stalled network. A client that gives
	// up in the meantime must not reach the server when the network is back.
	early, passed := c.whileWaiting(func(ctx context.Context) bool {
		return p.gates[Up].pass(ctx) && p.gates[Down].pass(ctx)
	})
	if !passed {
		return
	}
	var d net.Dialer
	upstream, err := d.DialContext(c.ctx, "tcp", p.upstream)
	if err != nil || !c.setUpstream(upstream) {
		return
	}
	if _, err := c.upstream.Write(early); err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(c, c.client, c.upstream, Up) })
	wg.Go(func() { p.pump(c, c.upstream, c.client, Down) })
	wg.Wait()
}

// pump carries one direction. The end of a stream is a packet too: it has to
// pass the gate like any byte.
func (p *Proxy) pump(c *duplex, from, to *net.TCPConn, d Direction) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if !p.latency(c.ctx, n) || !p.gates[d].pass(c.ctx) {
			return
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				c.reset()
				return
			}
		}
		if err != nil {
			if d == Up || !c.orphaned() {
				c.end(to, err)
			}
			return
		}
	}
}

// latency is how long so many bytes are on their way.
func (p *Proxy) latency(ctx context.Context, n int) bool {
	p.mu.Lock()
	d := p.delay
	if p.rate > 0 {
		d += time.Duration(n) * time.Second / time.Duration(p.rate)
	}
	p.mu.Unlock()
	return d == 0 || pause(ctx, d) == nil
}
