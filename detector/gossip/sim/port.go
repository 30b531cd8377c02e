package sim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// socketBuffer is how many packets wait for a member that does not read.
const socketBuffer = 1024

// Port is one member's place in the network: a memberlist.Transport.
type Port struct {
	net     *Network
	addr    string
	packets chan *memberlist.Packet
	streams chan net.Conn
	closed  chan struct{}
	gone    bool // guarded by net.mu: nothing comes from it any more

	mu     sync.Mutex
	frozen chan struct{} // closed when the member goes on; nil while it runs
	held   []*memberlist.Packet
	calls  []net.Conn
	down   bool
	sent   Sent
}

func newPort(n *Network, addr string) *Port {
	return &Port{
		net: n, addr: addr, closed: make(chan struct{}),
		packets: make(chan *memberlist.Packet, socketBuffer), streams: make(chan net.Conn, 256),
	}
}

// Sent returns what the port has sent so far, streams included.
func (p *Port) Sent() Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

func (p *Port) count(messages, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent.Messages += uint64(messages) //nolint:gosec // not negative
	p.sent.Bytes += uint64(bytes)       //nolint:gosec // as above
}

func (p *Port) freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.frozen == nil:
		p.frozen = make(chan struct{})
	case !on && p.frozen != nil:
		for _, c := range p.held {
			p.put(c)
		}
		for _, c := range p.calls {
			p.ring(c)
		}
		p.held, p.calls = nil, nil
		close(p.frozen)
		p.frozen = nil
	}
}

// thaw waits until the member runs.
func (p *Port) thaw() {
	p.mu.Lock()
	c := p.frozen
	p.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case <-c:
	case <-p.closed:
	}
}

func (p *Port) put(c *memberlist.Packet) {
	select {
	case p.packets <- c:
	default: // its buffer is full
	}
}

// ring hands a connection to the member; with p.mu held.
func (p *Port) ring(c net.Conn) {
	if p.down {
		_ = c.Close()
		return
	}
	select {
	case p.streams <- c:
	default:
		_ = c.Close()
	}
}

func (p *Port) deliver(c *memberlist.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.frozen == nil:
		p.put(c)
	case len(p.held) < socketBuffer:
		p.held = append(p.held, c)
	}
}

func (p *Port) accept(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil && !p.down {
		p.calls = append(p.calls, c) // the kernel accepts for it
		return
	}
	p.ring(c)
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (p *Port) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	return net.ParseIP(ip).To4(), port, nil
}

// WriteTo implements memberlist.Transport.
func (p *Port) WriteTo(b []byte, addr string) (time.Time, error) {
	p.thaw()
	now := time.Now()
	if p.net.Tap != nil {
		p.net.Tap(b)
	}
	p.count(1, len(b))
	to := p.net.packetWay(p, addr)
	if to == nil {
		return now, nil // as with UDP: nobody says that it was lost
	}
	from, err := net.ResolveUDPAddr("udp", p.addr)
	if err != nil {
		return now, err
	}
	packet := &memberlist.Packet{Buf: append([]byte(nil), b...), From: from, Timestamp: now}
	if d := p.net.delay(); d > 0 {
		time.AfterFunc(d, func() {
			packet.Timestamp = time.Now()
			to.deliver(packet)
		})
	} else {
		to.deliver(packet)
	}
	return now, nil
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (p *Port) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return p.WriteTo(b, a.Addr)
}

// DialTimeout implements memberlist.Transport.
func (p *Port) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	p.thaw()
	to, err := p.net.streamWay(p, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	if to == nil {
		select {
		case <-time.After(timeout):
			return nil, os.ErrDeadlineExceeded
		case <-p.closed:
			return nil, net.ErrClosed
		}
	}
	if d := p.net.delay(); d > 0 {
		select {
		case <-time.After(d):
		case <-p.closed:
			return nil, errors.New("the port is closed")
		}
	}
	here, there := net.Pipe()
	// memberlist writes its label before it sets a deadline, which TCP would take
	// at once, and a pipe only when somebody reads.
	if err := here.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	to.accept(counted{there, to})
	return counted{here, p}, nil
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (p *Port) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return p.DialTimeout(a.Addr, timeout)
}

// PacketCh implements memberlist.Transport.
func (p *Port) PacketCh() <-chan *memberlist.Packet { return p.packets }

// StreamCh implements memberlist.Transport.
func (p *Port) StreamCh() <-chan net.Conn { return p.streams }

// Shutdown implements memberlist.Transport. Connections that nobody took are reset.
func (p *Port) Shutdown() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return nil
	}
	p.down = true
	close(p.closed)
	for _, c := range p.calls {
		_ = c.Close()
	}
	p.calls = nil
	for {
		select {
		case c := <-p.streams:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// counted is a stream whose writes are counted to its port.
type counted struct {
	net.Conn
	port *Port
}

// Write implements net.Conn.
func (c counted) Write(b []byte) (int, error) {
	c.port.thaw()
	n, err := c.Conn.Write(b)
	c.port.count(1, n)
	return n, err
}
