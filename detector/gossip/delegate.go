package gossip

import (
	"fmt"
	"net"
	"strconv"
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

// NodeMeta implements memberlist.Delegate: the version this agent speaks, and
// which instance it is.
func (d delegate) NodeMeta(int) []byte { return d.g.roster.self.meta() }

// NotifyMsg implements memberlist.Delegate.
func (d delegate) NotifyMsg(b []byte) { d.take(b, 64<<10) }

// take decodes a message and delivers it, unless nobody we know sent it.
func (d delegate) take(b []byte, limit int) {
	m, err := decode(b, limit)
	if err != nil {
		d.g.refused.add(Malformed, nil, err.Error())
		return
	}
	if _, ok := d.g.cfg.member(m.From); !ok {
		d.g.refused.add(NotAMember, nil, strconv.Quote(m.From))
		return
	}
	if m.Conflict != nil {
		d.g.learn(*m.Conflict)
	}
	if m.From == d.g.cfg.Self || d.g.conflicts.refused() != nil || !d.g.roster.hears(m.From, m.ID, time.Now()) {
		return
	}
	d.g.in.Receive(m.From, m.Evidence)
	if d.g.cfg.Control != nil {
		d.g.cfg.Control.Merge(m.Control, time.Now())
	}
	d.g.cfg.hear(m.Logs, time.Now())
	if m.Bye {
		d.g.roster.bye(m.From)
	}
}

// GetBroadcasts implements memberlist.Delegate.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate.
func (d delegate) LocalState(bool) []byte {
	m := message{From: d.g.cfg.Self, ID: d.g.roster.self.ID, Evidence: d.g.in.State(), Logs: d.g.cfg.allLogs(time.Now())}
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
// let in, nor who uses the name of another that lives.
func (d delegate) NotifyAlive(peer *memberlist.Node) error {
	claimant := instanceOf(peer)
	from := &net.UDPAddr{IP: peer.Addr, Port: int(peer.Port)}
	if _, ok := d.g.cfg.member(peer.Name); !ok {
		d.g.refused.add(NotAMember, from, strconv.Quote(peer.Name))
		return fmt.Errorf("%q is not a configured member of cluster %q", peer.Name, d.g.cfg.Cluster)
	}
	holder, err := d.g.roster.claim(peer.Name, claimant)
	if err != nil {
		d.g.refused.add(NameInUse, from, strconv.Quote(peer.Name))
		d.g.conflicts.saw(Conflict{Name: peer.Name, Holder: holder, Refused: claimant})
	}
	return err
}

// NotifyJoin implements memberlist.EventDelegate. The member's address is noted
// here, under memberlist's lock: a Node that Members returns may be written while
// it is read.
func (d delegate) NotifyJoin(n *memberlist.Node) {
	d.g.roster.sit(n.Name, instanceOf(n))
	if n.Name != d.g.cfg.Self {
		d.g.conflicts.met()
	}
	d.g.in.AgentsChanged()
}

// NotifyLeave implements memberlist.EventDelegate.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.g.roster.leave(n.Name)
	d.g.in.AgentsChanged()
}

// NotifyUpdate implements memberlist.EventDelegate: an agent was started again
// before anybody missed it.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.g.roster.sit(n.Name, instanceOf(n)) }

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
