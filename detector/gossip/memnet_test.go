package gossip_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// memNet is a network in memory: packets may be lost, lines cut, hosts gone. It
// never blocks a sender on a dead peer, and nothing in it is outside of a
// synctest bubble.
type memNet struct {
	mu    sync.Mutex
	rand  *rand.Rand
	loss  float64
	ports map[string]*memPort
	cut   map[[2]string]bool
	tap   func([]byte) // sees every packet; may be nil
}

func newMemNet(seed uint64, loss float64) *memNet {
	return &memNet{
		rand: rand.New(rand.NewPCG(seed, seed)), loss: loss, //nolint:gosec // a test's dice
		ports: map[string]*memPort{}, cut: map[[2]string]bool{},
	}
}

// memPort is one agent's place in the network.
type memPort struct {
	net     *memNet
	addr    string
	packets chan *memberlist.Packet
	streams chan net.Conn
	closed  chan struct{}
	once    sync.Once
	gone    bool // guarded by net.mu: nothing comes from it any more
}

var _ memberlist.NodeAwareTransport = (*memPort)(nil)

// listen opens addr anew.
func (n *memNet) listen(addr string) *memPort {
	p := &memPort{
		net: n, addr: addr, closed: make(chan struct{}),
		packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn, 64),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[addr] = p
	return p
}

// vanish takes the port at addr off the network without its noticing.
func (n *memNet) vanish(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.ports[addr]; p != nil {
		p.gone = true
		delete(n.ports, addr)
	}
}

// sever cuts or mends the line between two addresses, both ways.
func (n *memNet) sever(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{a, b}], n.cut[[2]string{b, a}] = cut, cut
}

// route finds the way from one address to another. A nil port without an error
// is a packet that got lost.
func (n *memNet) route(from, to string, lossy bool) (*memPort, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[[2]string{from, to}] || lossy && n.rand.Float64() < n.loss {
		return nil, nil //nolint:nilnil // see above
	}
	p := n.ports[to]
	if p == nil {
		return nil, syscall.ECONNREFUSED
	}
	select {
	case <-p.closed:
		return nil, syscall.ECONNREFUSED
	default:
		return p, nil
	}
}

func (p *memPort) route(addr string, lossy bool) (*memPort, error) {
	p.net.mu.Lock()
	gone := p.gone
	p.net.mu.Unlock()
	if gone {
		return nil, nil //nolint:nilnil // as in route
	}
	return p.net.route(p.addr, addr, lossy)
}

func (p *memPort) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	return net.ParseIP(ip).To4(), port, nil
}

func (p *memPort) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	if p.net.tap != nil {
		p.net.tap(b)
	}
	to, _ := p.route(addr, true)
	if to == nil {
		return now, nil // as with UDP: nobody says that it was lost
	}
	from, err := net.ResolveUDPAddr("udp", p.addr)
	if err != nil {
		return now, err
	}
	select {
	case to.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: from, Timestamp: now}:
	default: // its buffer is full
	}
	return now, nil
}

func (p *memPort) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return p.WriteTo(b, a.Addr)
}

func (p *memPort) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, err := p.route(addr, false)
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
	here, there := net.Pipe()
	select {
	case to.streams <- there:
		return here, nil
	default:
		_ = here.Close()
		return nil, errors.New("the backlog is full")
	}
}

func (p *memPort) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return p.DialTimeout(a.Addr, timeout)
}

func (p *memPort) PacketCh() <-chan *memberlist.Packet { return p.packets }
func (p *memPort) StreamCh() <-chan net.Conn           { return p.streams }

func (p *memPort) Shutdown() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}
