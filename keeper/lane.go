package keeper

import (
	"context"
	"fmt"
	"sync"

	"healer/topology"
)

// lane keeps the slot of one peer.
type lane struct {
	k    *Keeper
	peer string

	mu     sync.Mutex
	status PeerStatus

	// problem and risk are what was last reported, so that each is reported
	// once. Only the lane's own goroutine uses them, and those below.
	problem string
	risk    string
	// settled is the node's flushed position when there was last nothing to do
	// for the slot, rested how many ticks have passed since without a look.
	settled topology.LSN
	rested  int
}

// restTicks bounds how long a lane looks away while the node writes nothing: a
// slot can be dropped, or a peer marked, without that.
const restTicks = 10

// rests reports whether there is nothing to look at: the slot was as far as it
// can be, and the node has flushed nothing since. It costs an idle mesh most of
// its queries otherwise.
func (l *lane) rests() bool {
	if flushed := l.k.flushedNow(); l.settled == 0 || flushed != l.settled || l.rested >= restTicks {
		l.settled, l.rested = 0, 0
		return false
	}
	l.rested++
	return true
}

// tick reads the peer and the slots, decides, and acts. It reads the slots
// after the peer and just before it acts, so it never acts on what it has
// already done.
func (l *lane) tick(ctx context.Context) error {
	if l.rests() {
		return nil
	}
	flushed := l.k.flushedNow()
	view, slots, err := l.read(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the keeper stops: what failed for that is nobody's concern
	}
	if err != nil {
		l.report(PeerStatus{Peer: l.peer, Phase: Hold, Why: err.Error()})
		l.change(err)
		return err
	}
	action := l.k.decide(view, slots)
	l.report(l.statusOf(action, slots))
	l.watchRisk(slots)
	if kept, ok := find(slots, topology.SlotRecovery, l.peer); ok && kept.Confirmed >= flushed {
		l.settled = flushed
	}
	err = l.act(ctx, action, slots)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // as above
	}
	if err == nil && !view.Reachable {
		err = fmt.Errorf("cannot read %s: %s", l.peer, view.Problem)
	}
	l.change(err)
	return err
}

// read returns an error only when the own node cannot be read: a peer that
// cannot is a view of its own.
func (l *lane) read(ctx context.Context) (PeerView, []topology.Slot, error) {
	view, err := within(ctx, l.k.limits.Read, func(ctx context.Context) (PeerView, error) {
		return l.k.store.PeerProgress(ctx, l.peer)
	})
	if err != nil {
		view = PeerView{Problem: err.Error()}
	}
	view.Name = l.peer
	slots, err := within(ctx, l.k.limits.Read, l.k.store.Slots)
	if err != nil {
		return view, nil, fmt.Errorf("cannot list the slots: %w", err)
	}
	return view, slots, nil
}

func (l *lane) act(ctx context.Context, a Action, slots []topology.Slot) error {
	limits, store := l.k.limits, l.k.store
	switch a.Kind {
	case Create:
		return bounded(ctx, limits.Create, "make the slot", func(ctx context.Context) error {
			return store.CreateSeed(ctx, l.peer)
		})
	case Promote:
		if err := bounded(ctx, limits.Create, "promote the slot", func(ctx context.Context) error {
			return store.Promote(ctx, l.peer)
		}); err != nil {
			return err
		}
		l.created(ctx, slots)
		return nil
	case Advance:
		return bounded(ctx, limits.Advance, "move the slot", func(ctx context.Context) error {
			return store.Advance(ctx, a.Slot, a.To)
		})
	}
	return nil
}

// created reports a recovery slot that was not there before.
func (l *lane) created(ctx context.Context, before []topology.Slot) {
	if _, had := find(before, topology.SlotRecovery, l.peer); had {
		return
	}
	slot := topology.Slot{Kind: topology.SlotRecovery, To: l.peer}
	if seed, ok := find(before, topology.SlotSeed, l.peer); ok {
		slot.Confirmed, slot.Restart = seed.Confirmed, seed.Restart
	}
	if now, err := within(ctx, l.k.limits.Read, l.k.store.Slots); err == nil {
		if s, ok := find(now, topology.SlotRecovery, l.peer); ok {
			slot = s
		}
	}
	l.k.log.Info("recovery slot in place", "node", l.k.node, "peer", l.peer, "slot", slot.Name, "at", slot.Confirmed.String())
	l.k.onEvent(Event{Kind: Created, Peer: l.peer, Slot: slot})
}

// watchRisk reports a slot that fills the disk or loses its WAL, once until it
// has recovered: until it retains less than half of what was too much.
func (l *lane) watchRisk(slots []topology.Slot) {
	var worst topology.Slot
	found := false
	for _, s := range slots {
		if s.To == l.peer && (s.Kind == topology.SlotRecovery || s.Kind == topology.SlotSeed) &&
			(!found || s.RetainedBytes > worst.RetainedBytes) {
			worst, found = s, true
		}
	}
	risk := ""
	switch warn := l.k.limits.WarnBytes; {
	case !found:
	case worst.WALStatus == walLost || worst.WALStatus == walUnreserved:
		risk = worst.WALStatus
	case worst.RetainedBytes >= warn || (l.risk != "" && worst.RetainedBytes >= warn/2):
		risk = "retained"
	}
	changed := risk != l.risk
	l.risk = risk
	if !changed {
		return
	}
	if risk == "" {
		l.k.log.Info("slot is no longer at risk", "node", l.k.node, "peer", l.peer)
		return
	}
	why := fmt.Sprintf("it retains %s of WAL", topology.SizeText(worst.RetainedBytes))
	if risk != "retained" {
		why += " and its wal_status is " + risk
	}
	l.k.log.Warn("slot is at risk: "+why, "node", l.k.node, "peer", l.peer, "slot", worst.Name)
	l.k.onEvent(Event{Kind: AtRisk, Peer: l.peer, Slot: worst, Why: why})
}

// change logs when the lane begins to fail and when it works again.
func (l *lane) change(err error) {
	was := l.problem
	l.problem = ""
	if err != nil {
		l.problem = err.Error()
	}
	switch {
	case was == "" && err != nil:
		l.k.log.Warn("recovery slot is not kept: "+l.problem, "node", l.k.node, "peer", l.peer)
	case was != "" && err == nil:
		l.k.log.Info("recovery slot is kept again", "node", l.k.node, "peer", l.peer)
	}
}
