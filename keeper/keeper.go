package keeper

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"healer/topology"
)

// Keeper is the running loop of one node: a sampler that reads the node itself,
// and for each peer a lane that reads the peer, decides, and acts on the peer's
// slot. A lane that waits for a slow peer, or for a slot to be made, delays
// nobody else.
type Keeper struct {
	node     string
	store    Store
	interval time.Duration
	limits   Limits
	onEvent  func(Event)
	log      *slog.Logger
	lanes    []*lane

	stop context.CancelFunc
	done sync.WaitGroup

	// snapshotAt is the flushed LSN at the last standby snapshot. Both belong
	// to the sampler alone.
	snapshotAt     topology.LSN
	snapshotFailed bool

	mu      sync.Mutex
	history *History
	flushed topology.LSN
	problem string
}

// New checks the options; nothing runs before Start.
func New(o Options) (*Keeper, error) {
	if o.Node == "" || o.Store == nil {
		return nil, errors.New("keeper: a node and a store are needed")
	}
	if slices.Contains(o.Peers, o.Node) {
		return nil, errors.New("keeper: " + o.Node + " is not a peer of itself")
	}
	k := &Keeper{
		node: o.Node, store: o.Store, onEvent: o.OnEvent, log: o.Log,
		interval: orDefault(o.Interval, 200*time.Millisecond), limits: o.Limits.withDefaults(),
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	if k.onEvent == nil {
		k.onEvent = func(Event) {}
	}
	k.history = NewHistory(k.limits.History)
	for _, p := range slices.Sorted(slices.Values(o.Peers)) {
		k.lanes = append(k.lanes, &lane{k: k, peer: p, status: PeerStatus{Peer: p, Phase: Hold, Why: "not read yet"}})
	}
	return k, nil
}

// Start begins to keep the slots, until ctx ends or Stop is called. It returns
// at once and must be called only once.
func (k *Keeper) Start(ctx context.Context) {
	ctx, k.stop = context.WithCancel(ctx)
	k.done.Go(func() { k.loop(ctx, k.sample) })
	for _, l := range k.lanes {
		k.done.Go(func() { k.loop(ctx, l.tick) })
	}
}

// Stop ends the loops and waits for them; the calls in flight are cancelled.
// Slots stay as they are.
func (k *Keeper) Stop() {
	if k.stop != nil {
		k.stop()
	}
	k.done.Wait()
}

// Newest returns the newest position of the node's log known to lie before
// every transaction of origin that a node with the given progress of it lacks,
// and false when none is known.
func (k *Keeper) Newest(origin string, progress topology.LSN) (topology.LSN, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.history.Newest(origin, progress)
}

// loop calls tick until ctx ends, with a whole interval between the end of one
// call and the begin of the next: History relies on samples an interval apart.
// After failures the pause doubles up to the limit.
func (k *Keeper) loop(ctx context.Context, tick func(context.Context) error) {
	pause := k.interval
	for {
		if err := tick(ctx); err == nil {
			pause = k.interval
		} else {
			pause = min(2*pause, max(k.limits.Backoff, k.interval))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// sample reads the node once and remembers the point it makes.
func (k *Keeper) sample(ctx context.Context) error {
	read, cancel := context.WithTimeout(ctx, k.limits.Read)
	defer cancel()
	s, err := k.store.Sample(read)
	if ctx.Err() != nil {
		return nil
	}
	k.sampled(s, err)
	if err != nil {
		return err
	}
	k.logSnapshot(read, s.Flushed)
	return nil
}

// flushedNow is the node's flushed position as last sampled.
func (k *Keeper) flushedNow() topology.LSN {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.flushed
}

func (k *Keeper) sampled(s Sample, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.problem
	switch {
	case err != nil:
		k.problem = err.Error()
		k.history.Interrupt()
	case len(s.Unknown) > 0:
		k.problem = "subscription " + s.Unknown[0] + " reads from a node that is not known"
		k.history.Observe(s)
	default:
		k.problem = ""
		k.history.Observe(s)
	}
	if err == nil {
		k.flushed = s.Flushed
	}
	switch {
	case was == "" && k.problem != "":
		k.log.Warn("no recovery slot moves: "+k.problem, "node", k.node)
	case was != "" && k.problem == "":
		k.log.Info("the node can be read again", "node", k.node)
	}
}

// logSnapshot writes a standby snapshot once enough WAL has come since the
// last, so that the next moves can take restart_lsn along. Without it slots
// still move and clones only read more, so a failure stops nothing.
func (k *Keeper) logSnapshot(ctx context.Context, flushed topology.LSN) {
	if flushed >= k.snapshotAt && int64(flushed-k.snapshotAt) < k.limits.SnapshotBytes { //nolint:gosec // a distance
		return
	}
	err := k.store.StandbySnapshot(ctx)
	if err == nil {
		k.snapshotAt = flushed
	} else if ctx.Err() == nil && !k.snapshotFailed {
		k.log.Warn("cannot log a standby snapshot: clones will read more WAL than they need", "node", k.node, "error", err)
	}
	k.snapshotFailed = err != nil
}

// decide runs Decide on the history as it is now.
func (k *Keeper) decide(v PeerView, slots []topology.Slot) Action {
	k.mu.Lock()
	defer k.mu.Unlock()
	return Decide(k.history, v, slots)
}
