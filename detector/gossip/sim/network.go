package sim

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network is a network in memory. Its zero latency is a network without any.
type Network struct {
	// Latency is what a packet takes, plus as much again by chance; a connection
	// takes it once. Set it before the first use.
	Latency time.Duration
	// Tap sees every packet; may be nil.
	Tap func([]byte)

	mu    sync.Mutex
	rand  *rand.Rand
	loss  float64
	ports map[string]*Port
	cut   map[[2]string]bool // from, to
}

// NewNetwork makes a network that loses the given share of packets.
func NewNetwork(seed uint64, loss float64) *Network {
	return &Network{
		rand: rand.New(rand.NewPCG(seed, seed)), loss: loss, //nolint:gosec // dice, no secret
		ports: map[string]*Port{}, cut: map[[2]string]bool{},
	}
}

// Listen opens addr anew.
func (n *Network) Listen(addr string) *Port {
	p := newPort(n, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[addr] = p
	return p
}

// Vanish takes the port at addr off the network without its noticing.
func (n *Network) Vanish(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.ports[addr]; p != nil {
		p.gone = true
		delete(n.ports, addr)
	}
}

// Sever cuts or mends the line between two addresses, both ways.
func (n *Network) Sever(a, b string, cut bool) {
	n.SeverOneWay(a, b, cut)
	n.SeverOneWay(b, a, cut)
}

// SeverOneWay cuts or mends the way from one address to another.
func (n *Network) SeverOneWay(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = cut
}

// Freeze stops the member at addr, as SIGSTOP does, or lets it go on: what it sends
// waits, and what comes for it is kept as far as there is room.
func (n *Network) Freeze(addr string, on bool) {
	n.mu.Lock()
	p := n.ports[addr]
	n.mu.Unlock()
	if p != nil {
		p.freeze(on)
	}
}

// delay is the time a packet takes.
func (n *Network) delay() time.Duration {
	if n.Latency == 0 {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.Latency + time.Duration(n.rand.Float64()*float64(n.Latency))
}

// packetWay finds where a packet goes; nil when it gets lost.
func (n *Network) packetWay(from *Port, to string) *Port {
	n.mu.Lock()
	defer n.mu.Unlock()
	if from.gone || n.cut[[2]string{from.addr, to}] || n.rand.Float64() < n.loss {
		return nil
	}
	return n.ports[to]
}

// streamWay finds where a connection goes; nil without an error when nobody says a
// word. Connections need both ways, and TCP makes up for loss.
func (n *Network) streamWay(from *Port, to string) (*Port, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if from.gone || n.cut[[2]string{from.addr, to}] || n.cut[[2]string{to, from.addr}] {
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

// Sent is what a port has sent so far.
type Sent struct{ Messages, Bytes uint64 }

var _ memberlist.NodeAwareTransport = (*Port)(nil)
