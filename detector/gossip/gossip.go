package gossip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"
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
	queue     memberlist.TransmitLimitedQueue
	keys      *keyring // nil: nothing is encrypted
	refused   *refusals
	roster    *roster
	conflicts *conflicts
	pulse     *pulse

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
	cfg = cfg.withDefaults()
	self := Instance{ID: rand.Text(), Since: time.Now().Round(0), Build: cfg.Build[:min(len(cfg.Build), MaxBuild)]}
	g := &Gossip{
		cfg: cfg, log: cfg.Log, refused: newRefusals(cfg.Log),
		roster: newRoster(cfg.Self, self), conflicts: newConflicts(cfg.Self, self, 5*cfg.JoinInterval),
		pulse: &pulse{grace: heardFor},
	}
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
	if g.cfg.KeyFile != "" {
		if g.keys, err = openKeyring(g.cfg.KeyFile); err != nil {
			return err
		}
	}
	transport, err := g.cfg.listen(self)
	if err != nil {
		return err
	}
	g.in = in
	g.roster.self.Addr = self.String()
	mc := g.cfg.memberlist(self, g.keys)
	guarded := newGuard(transport, mc.Label, g.keys, g.cfg.StreamTimeout, g.refused)
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
	g.done.Go(func() { g.pulse.run(run, g.present) })
	g.done.Go(func() { g.tellConflicts(run) })
	g.done.Go(func() { g.seekAbsent(run) })
	if g.keys != nil {
		g.done.Go(func() { g.watchKeys(run, g.keys) })
	}
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
	if g.conflicts.refused() != nil {
		// The name is another's: nothing may be said under it.
		return g.list.Shutdown()
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
	b, err := encode(message{From: g.cfg.Self, ID: g.roster.self.ID, Evidence: evidence, Logs: g.cfg.ownLog(time.Now()), Bye: true})
	if err != nil {
		g.log.Warn("farewell was not sent", "error", err)
		return
	}
	var sent sync.WaitGroup
	alive := g.Agents()
	for _, a := range g.roster.others() {
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

// Tell implements detector.Gossip. StreamTimeout bounds it as well as ctx.
func (g *Gossip) Tell(ctx context.Context, member string, evidence []detector.Evidence) error {
	if g.conflicts.refused() != nil {
		return nil // the name is another's
	}
	b, err := encode(message{From: g.cfg.Self, ID: g.roster.self.ID, Evidence: evidence})
	if err != nil {
		return err
	}
	targets := g.roster.others()
	i := slices.IndexFunc(targets, func(a memberlist.Address) bool { return a.Name == member })
	if i < 0 {
		return fmt.Errorf("the address of %s is not known", member)
	}
	sent := make(chan error, 1)
	go func() { sent <- g.sendReliable(targets[i], b) }()
	select {
	case err = <-sent:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return detector.ErrAgentGone
	}
	return err
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
	if g.conflicts.refused() != nil {
		return
	}
	msgs, err := datagrams(message{From: g.cfg.Self, ID: g.roster.self.ID, Evidence: evidence, Logs: g.cfg.ownLog(time.Now())})
	if err != nil {
		g.log.Warn("evidence was not sent", "error", err)
		return
	}
	targets := g.roster.others()
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
		b, err := encode(message{From: g.cfg.Self, ID: g.roster.self.ID, Evidence: []detector.Evidence{e}})
		if err == nil {
			g.queue.QueueBroadcast(broadcast{subject: e.Subject, msg: b})
		}
	}
}

// SendControl spreads what an operator has said, best effort: exchanges of full
// states make up for what is lost.
func (g *Gossip) SendControl(entries []control.Entry) {
	if g.conflicts.refused() != nil {
		return
	}
	for _, e := range entries {
		b, err := encode(message{From: g.cfg.Self, ID: g.roster.self.ID, Control: []control.Entry{e}})
		if err != nil {
			g.log.Warn("a control entry was not sent", "error", err)
			continue
		}
		for _, a := range g.roster.others() {
			if err := g.list.SendToAddress(a, b); err != nil {
				g.log.Debug("a control entry was not sent", "member", a.Name, "error", err)
			}
		}
		g.queue.QueueBroadcast(broadcast{subject: "control " + string(e.Kind) + " " + e.Subject, msg: b})
	}
}

// heardFor is how long a member lives, whatever memberlist thinks, after it spoke
// to this one itself: a few of the intervals at which agents repeat their evidence.
const heardFor = time.Second

// Agents implements detector.Gossip. It misses nobody who spoke to this agent just
// now, and after a pause of this process nobody at first: memberlist blames others
// for what it has missed itself.
func (g *Gossip) Agents() []string {
	if g.list == nil {
		return nil
	}
	if g.conflicts.refused() != nil {
		return []string{g.cfg.Self}
	}
	names := append(g.present(), g.pulse.missedNot(time.Now())...)
	slices.Sort(names)
	return slices.Compact(names)
}

// Builds are the versions of the programs of the members that memberlist holds for alive,
// this one's included; empty of one whose program does not tell.
func (g *Gossip) Builds() map[string]string { return g.roster.builds() }

// present are the members that memberlist holds for alive, or that were heard
// lately, but those whose hosts have said that nobody is there.
func (g *Gossip) present() []string {
	lives := map[string]bool{}
	for _, n := range g.list.Members() {
		lives[n.Name] = true
	}
	since := time.Now().Add(-heardFor)
	for _, m := range g.cfg.Members {
		lives[m.Name] = lives[m.Name] || g.roster.lately(m.Name, since)
	}
	maps.DeleteFunc(lives, func(name string, yes bool) bool { return !yes || g.roster.absent(name) })
	return slices.Sorted(maps.Keys(lives))
}

// Refused returns how many packets and streams were turned away.
func (g *Gossip) Refused() uint64 { return g.refused.total() }
