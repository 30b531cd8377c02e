package gossip

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// guard is a transport that lets in only what carries the cluster's label.
// memberlist could check the label itself, but only says so in its log; the
// guard counts what it refuses, so that two clusters that share an address show
// up in a metric.
type guard struct {
	memberlist.NodeAwareTransport
	label   string
	timeout time.Duration
	refused *atomic.Uint64

	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{}
	once    sync.Once
	done    sync.WaitGroup
}

// newGuard wraps inner. timeout bounds how long a stream may take to show its
// label.
func newGuard(inner memberlist.NodeAwareTransport, label string, timeout time.Duration, refused *atomic.Uint64) *guard {
	g := &guard{
		NodeAwareTransport: inner, label: label, timeout: timeout, refused: refused,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), stop: make(chan struct{}),
	}
	g.done.Go(g.guardPackets)
	g.done.Go(g.guardStreams)
	return g
}

// PacketCh implements memberlist.Transport.
func (g *guard) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh implements memberlist.Transport.
func (g *guard) StreamCh() <-chan net.Conn { return g.streams }

// Shutdown implements memberlist.Transport. The inner transport goes first: its
// listeners must find somebody who takes what they still hold.
func (g *guard) Shutdown() error {
	err := g.NodeAwareTransport.Shutdown()
	g.once.Do(func() { close(g.stop) })
	g.done.Wait()
	return err
}

func (g *guard) guardPackets() {
	for {
		select {
		case <-g.stop:
			return
		case p := <-g.NodeAwareTransport.PacketCh():
			buf, label, err := memberlist.RemoveLabelHeaderFromPacket(p.Buf)
			if err != nil || label != g.label {
				g.refused.Add(1)
				continue
			}
			p.Buf = buf
			select {
			case g.packets <- p:
			case <-g.stop:
				return
			}
		}
	}
}

func (g *guard) guardStreams() {
	for {
		select {
		case <-g.stop:
			return
		case conn := <-g.NodeAwareTransport.StreamCh():
			g.done.Go(func() { g.admit(conn) })
		}
	}
}

// admit reads a stream's label. It runs beside the others, so that a peer which
// connects and says nothing holds up only itself.
func (g *guard) admit(conn net.Conn) {
	peeled, ok := g.peel(conn)
	if !ok {
		g.refused.Add(1)
		_ = conn.Close()
		return
	}
	select {
	case g.streams <- peeled:
	case <-g.stop:
		_ = conn.Close()
	}
}

func (g *guard) peel(conn net.Conn) (net.Conn, bool) {
	// Shutdown waits for this goroutine: a silent peer must not outlast it.
	closer := make(chan struct{})
	defer close(closer)
	g.done.Go(func() {
		select {
		case <-g.stop:
			_ = conn.SetDeadline(time.Unix(1, 0))
		case <-closer:
		}
	})
	if err := conn.SetDeadline(time.Now().Add(g.timeout)); err != nil {
		return nil, false
	}
	peeled, label, err := memberlist.RemoveLabelHeaderFromStream(conn)
	if err != nil || label != g.label {
		return nil, false
	}
	return peeled, true
}
