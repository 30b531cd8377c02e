package gossip

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is the side of the Gossip that memberlist calls, partly under its
// own locks: nothing here blocks or calls memberlist back.
type delegate struct{ g *Gossip }

var (
	_ memberlist.Delegate      = delegate{}
	_ memberlist.EventDelegate = delegate{}
	_ memberlist.AliveDelegate = delegate{}
)

// NodeMeta implements memberlist.Delegate: the version this agent speaks.
func (d delegate) NodeMeta(int) []byte { return []byte{wireVersion} }

// NotifyMsg implements memberlist.Delegate.
func (d delegate) NotifyMsg(b []byte) { d.take(b, 64<<10) }

// take decodes a message and delivers it, unless nobody we know sent it.
func (d delegate) take(b []byte, limit int) {
	m, err := decode(b, limit)
	if err != nil {
		d.g.refused.Add(1)
		d.g.log.Warn("gossip refused", "error", err)
		return
	}
	if _, ok := d.g.cfg.member(m.From); !ok {
		d.g.refused.Add(1)
		return
	}
	if m.From == d.g.cfg.Self {
		return
	}
	d.g.in.Receive(m.From, m.Evidence)
	if d.g.cfg.Control != nil {
		d.g.cfg.Control.Merge(m.Control, time.Now())
	}
}

// GetBroadcasts implements memberlist.Delegate.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate.
func (d delegate) LocalState(bool) []byte {
	m := message{From: d.g.cfg.Self, Evidence: d.g.in.State()}
	if d.g.cfg.Control != nil {
		m.Control = d.g.cfg.Control.Entries()
	}
	b, err := encode(m)
	if err != nil {
		return nil
	}
	return b
}

// MergeRemoteState implements memberlist.Delegate.
func (d delegate) MergeRemoteState(b []byte, _ bool) {
	if len(b) > 0 {
		d.take(b, maxState)
	}
}

// NotifyAlive implements memberlist.AliveDelegate: who is not configured is not
// let in.
func (d delegate) NotifyAlive(peer *memberlist.Node) error {
	if _, ok := d.g.cfg.member(peer.Name); !ok {
		d.g.refused.Add(1)
		return fmt.Errorf("%q is not a configured member of cluster %q", peer.Name, d.g.cfg.Cluster)
	}
	return nil
}

// NotifyJoin implements memberlist.EventDelegate. The member's address is noted
// here, under memberlist's lock: a Node that Members returns may be written while
// it is read.
func (d delegate) NotifyJoin(n *memberlist.Node) {
	if ip, ok := netip.AddrFromSlice(n.Addr); ok {
		d.g.mu.Lock()
		d.g.addrs[n.Name] = netip.AddrPortFrom(ip.Unmap(), n.Port)
		d.g.mu.Unlock()
	}
	d.g.in.AgentsChanged()
}

// NotifyLeave implements memberlist.EventDelegate.
func (d delegate) NotifyLeave(*memberlist.Node) { d.g.in.AgentsChanged() }

// NotifyUpdate implements memberlist.EventDelegate.
func (d delegate) NotifyUpdate(*memberlist.Node) {}

// broadcast is one piece of evidence in the queue; newer evidence about the
// same subject takes its place.
type broadcast struct {
	subject string
	msg     []byte
}

var _ memberlist.NamedBroadcast = broadcast{}

// Name implements memberlist.NamedBroadcast.
func (b broadcast) Name() string { return b.subject }

// Invalidates implements memberlist.Broadcast.
func (b broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(broadcast)
	return ok && o.subject == b.subject
}

// Message implements memberlist.Broadcast.
func (b broadcast) Message() []byte { return b.msg }

// Finished implements memberlist.Broadcast.
func (b broadcast) Finished() {}
