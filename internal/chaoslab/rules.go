package chaoslab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"healer/chaos/fault"
	"healer/internal/localnet"
)

// rules are the faults between the agents' hosts.
type rules struct {
	mu  sync.RWMutex
	set map[*rule]struct{}
}

// rule is one fault of what a layer carries between two hosts.
type rule struct {
	ways  pair
	layer fault.Layer
	bend  fault.Bend
}

func newRules() *rules { return &rules{set: map[*rule]struct{}{}} }

// fate is what becomes of a packet. Packets that harness and host exchange are none of
// the network's: they never get here.
func (r *rules) fate(p localnet.Packet) localnet.Fate {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var f localnet.Fate
	for x := range r.set {
		if !x.carries(p) {
			continue
		}
		to := p.From == x.ways.from
		switch x.bend.Cut {
		case fault.Both:
			f.Lost = 1
		case fault.ToPeer:
			if to {
				f.Lost = 1
			}
		case fault.FromPeer:
			if !to {
				f.Lost = 1
			}
		}
		f.Delay += x.bend.Delay
	}
	return f
}

// carries reports whether the packet is of the layer, between the two hosts.
func (x *rule) carries(p localnet.Packet) bool {
	if (p.From != x.ways.from || p.To != x.ways.to) && (p.From != x.ways.to || p.To != x.ways.from) {
		return false
	}
	port := func(n uint16) bool { return p.FromPort == n || p.ToPort == n }
	switch x.layer {
	case fault.Gossip:
		return port(gossipPort)
	case fault.NATS:
		return port(routePort) || port(natsPort)
	default:
		return true
	}
}

// air is what a layer carries between the hosts of two agents.
type air struct {
	lab   *Lab
	ways  pair
	layer fault.Layer
}

var _ fault.Wire = air{}

// Name implements fault.Wire.
func (a air) Name() string {
	return fmt.Sprintf("%s between the agents of %s and %s", a.layer, a.ways.from, a.ways.to)
}

// Bend implements fault.Wire.
func (a air) Bend(b fault.Bend) (func() error, error) {
	if b.Rate > 0 || b.HalfOpen || b.Refuse {
		return nil, fault.Unable("packets between agents are only lost or delayed", "use link_cut or link_slow, or the link sql or replication")
	}
	x := &rule{ways: a.ways, layer: a.layer, bend: b}
	r := a.lab.rules
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set[x] = struct{}{}
	return func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.set, x)
		return nil
	}, nil
}

// Reset implements fault.Wire.
func (air) Reset() (int, error) {
	return 0, fault.Unable("connections between agents cannot be reset from outside", "use link_cut, or the link sql or replication")
}

// Probe implements fault.Wire: it asks for a connection of the layer.
func (a air) Probe(ctx context.Context, within time.Duration) (time.Duration, error) {
	port := gossipPort
	if a.layer == fault.NATS {
		port = routePort
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := a.lab.net.Host(a.ways.from).Dial(ctx, fmt.Sprintf("%s:%d", a.lab.net.Host(a.ways.to).Addr(), port))
	if err == nil {
		err = conn.Close()
	}
	var e net.Error
	if errors.As(err, &e) && e.Timeout() {
		err = deadline(ctx, err)
	}
	return time.Since(begin), err
}
