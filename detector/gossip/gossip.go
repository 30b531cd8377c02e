package gossip

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"healer/control"
	"healer/detector"
	"healer/topology"
)

// Gossip implements detector.Gossip. It is safe for concurrent use.
type Gossip struct {
	cfg  Config
	log  *slog.Logger
	in   detector.Inbox
	list *memberlist.Memberlist
	// queue spreads urgent evidence through memberlist's own gossip.
	queue   memberlist.TransmitLimitedQueue
	refused atomic.Uint64

	mu    sync.Mutex
	addrs map[string]netip.AddrPort // where members were last resolved to

	cancel context.CancelFunc
	done   sync.WaitGroup
	stop   sync.Once
}

var _ detector.Gossip = (*Gossip)(nil)

// New makes a Gossip that does nothing until Start.
func New(cfg Config) (*Gossip, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := &Gossip{cfg: cfg.withDefaults(), log: cfg.Log, addrs: map[string]netip.AddrPort{}}
	g.queue = memberlist.TransmitLimitedQueue{
		NumNodes: func() int { return len(cfg.Members) }, RetransmitMult: 2,
	}
	return g, nil
}

// Start implements detector.Gossip. Its error is a *topology.Fault with the
// address and the remedy.
func (g *Gossip) Start(ctx context.Context, in detector.Inbox) error {
	own, _ := g.cfg.member(g.cfg.Self)
	self, err := resolve(ctx, own.Addr)
	if err != nil {
		return &topology.Fault{
			Class: topology.Permanent, Code: "gossip_address", Node: g.cfg.Self, Err: err,
			Hint: "set nodes[" + g.cfg.Self + "].gossip to host:port of this host",
		}
	}
	transport, err := g.cfg.listen(self)
	if err != nil {
		return err
	}
	g.in = in
	mc := g.cfg.memberlist(self)
	guarded := newGuard(transport, mc.Label, g.cfg.StreamTimeout, &g.refused)
	mc.Transport, mc.Delegate, mc.Events, mc.Alive = guarded, delegate{g}, delegate{g}, delegate{g}
	if g.list, err = memberlist.Create(mc); err != nil {
		return errors.Join(&topology.Fault{
			Class: topology.Permanent, Code: "gossip_start", Node: g.cfg.Self, Err: err,
			Hint: "see the agent's log for what memberlist says",
		}, guarded.Shutdown())
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g.cancel = cancel
	g.done.Go(func() { g.join(run) })
	return nil
}

// Stop implements detector.Gossip.
func (g *Gossip) Stop(ctx context.Context, farewell []detector.Evidence) error {
	if g.list == nil {
		return nil
	}
	var err error
	g.stop.Do(func() { err = g.shutdown(ctx, farewell) })
	return err
}

func (g *Gossip) shutdown(ctx context.Context, farewell []detector.Evidence) error {
	g.cancel()
	g.done.Wait()
	timeout := leaveTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond)
	}
	if len(farewell) > 0 {
		g.farewell(farewell)
	}
	// The others learn at once that this agent goes, instead of having to find
	// out. That is all memberlist's leave means: the node's own intent is in
	// the farewell.
	if err := g.list.Leave(timeout); err != nil {
		g.log.Debug("the leave may not have reached every agent", "error", err)
	}
	return g.list.Shutdown()
}

// farewell gives the evidence to every living member over TCP, side by side,
// and waits until they have it; StreamTimeout bounds each.
func (g *Gossip) farewell(evidence []detector.Evidence) {
	g.Send(evidence, true)
	b, err := encode(message{From: g.cfg.Self, Evidence: evidence})
	if err != nil {
		g.log.Warn("farewell was not sent", "error", err)
		return
	}
	var sent sync.WaitGroup
	alive := g.Agents()
	for _, a := range g.targets() {
		if !slices.Contains(alive, a.Name) {
			continue
		}
		sent.Go(func() {
			if err := g.sendReliable(a, b); err != nil {
				g.log.Warn("farewell did not arrive", "member", a.Name, "error", err)
			}
		})
	}
	sent.Wait()
}

// sendReliable sends over TCP. memberlist wants a Node, of which it uses the
// name and the address.
func (g *Gossip) sendReliable(to memberlist.Address, b []byte) error {
	at, err := netip.ParseAddrPort(to.Addr)
	if err != nil {
		return err
	}
	return g.list.SendReliable(&memberlist.Node{Name: to.Name, Addr: at.Addr().AsSlice(), Port: at.Port()}, b)
}

// Send implements detector.Gossip.
func (g *Gossip) Send(evidence []detector.Evidence, urgent bool) {
	msgs, err := datagrams(g.cfg.Self, evidence)
	if err != nil {
		g.log.Warn("evidence was not sent", "error", err)
		return
	}
	targets := g.targets()
	for _, b := range msgs {
		for _, a := range targets {
			// Best effort: the next refresh or exchange makes up for a loss.
			if err := g.list.SendToAddress(a, b); err != nil {
				g.log.Debug("evidence was not sent", "member", a.Name, "error", err)
			}
		}
	}
	if !urgent {
		return
	}
	for _, e := range evidence {
		b, err := encode(message{From: g.cfg.Self, Evidence: []detector.Evidence{e}})
		if err == nil {
			g.queue.QueueBroadcast(broadcast{subject: e.Subject, msg: b})
		}
	}
}

// SendControl spreads what an operator has said, best effort: exchanges of full
// states make up for what is lost.
func (g *Gossip) SendControl(entries []control.Entry) {
	for _, e := range entries {
		b, err := encode(message{From: g.cfg.Self, Control: []control.Entry{e}})
		if err != nil {
			g.log.Warn("a control entry was not sent", "error", err)
			continue
		}
		for _, a := range g.targets() {
			if err := g.list.SendToAddress(a, b); err != nil {
				g.log.Debug("a control entry was not sent", "member", a.Name, "error", err)
			}
		}
		g.queue.QueueBroadcast(broadcast{subject: "control " + string(e.Kind) + " " + e.Subject, msg: b})
	}
}

// targets are the addresses of all other members, including those that
// memberlist holds for dead: whether they are is theirs to show.
func (g *Gossip) targets() []memberlist.Address {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]memberlist.Address, 0, len(g.addrs))
	for name, a := range g.addrs {
		if name != g.cfg.Self {
			out = append(out, memberlist.Address{Addr: a.String(), Name: name})
		}
	}
	return out
}

// Agents implements detector.Gossip.
func (g *Gossip) Agents() []string {
	if g.list == nil {
		return nil
	}
	var names []string
	for _, n := range g.list.Members() {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}

// Refused returns how many packets and streams were turned away because they
// came from another cluster or from somebody who is not configured.
func (g *Gossip) Refused() uint64 { return g.refused.Load() }
