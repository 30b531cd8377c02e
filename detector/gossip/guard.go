package gossip

import (
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// guard is a transport that lets in only what carries the cluster's label and,
// where there are keys, was sealed with one of them. memberlist could check both
// itself, but only says so in its log; the guard counts what it refuses, so that
// two clusters that share an address show up in a metric.
type guard struct {
	memberlist.NodeAwareTransport
	label   string
	keys    *keyring // nil: nothing is encrypted
	timeout time.Duration
	refused *refusals

	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{}
	once    sync.Once
	done    sync.WaitGroup
}

// newGuard wraps inner. timeout bounds how long a stream may take to show who
// it is.
func newGuard(inner memberlist.NodeAwareTransport, label string, keys *keyring, timeout time.Duration, refused *refusals) *guard {
	g := &guard{
		NodeAwareTransport: inner, label: label, keys: keys, timeout: timeout, refused: refused,
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

// DialTimeout implements memberlist.Transport.
func (g *guard) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return g.answered(g.NodeAwareTransport.DialTimeout(addr, timeout))
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (g *guard) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.answered(g.NodeAwareTransport.DialAddressTimeout(a, timeout))
}

func (g *guard) answered(conn net.Conn, err error) (net.Conn, error) {
	if err != nil || g.keys == nil {
		return conn, err
	}
	return &answered{Conn: conn, keys: g.keys, label: g.label}, nil
}

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
				g.refused.add(OtherCluster, p.From, quoted(label))
				continue
			}
			if why := g.keys.packet(buf, label); why != "" {
				g.refused.add(why, p.From, "")
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

// admit reads a stream's beginning. It runs beside the others, so that a peer
// which connects and says nothing holds up only itself.
func (g *guard) admit(conn net.Conn) {
	peeled, ok := g.peel(conn)
	if !ok {
		_ = conn.Close()
		return
	}
	select {
	case g.streams <- peeled:
	case <-g.stop:
		_ = conn.Close()
	}
}

// peel takes the label off a stream whose beginning is as it should be.
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
		g.refused.add(OtherCluster, conn.RemoteAddr(), quoted(label))
		return nil, false
	}
	checked, why, err := g.keys.stream(peeled, label)
	switch {
	case why != "":
		g.refused.add(why, conn.RemoteAddr(), "")
	case err != nil:
		g.refused.add(Malformed, conn.RemoteAddr(), "a stream that ends early")
	}
	return checked, why == "" && err == nil
}

// quoted is a label as it may be shown: whoever sent it is a stranger.
func quoted(label string) string {
	if label == "" {
		return "no label"
	}
	return strconv.Quote(label)
}
