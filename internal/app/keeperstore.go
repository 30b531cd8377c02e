package app

import (
	"context"
	"fmt"
	"maps"
	"time"

	"healer/keeper"
	"healer/postgres/engine"
	"healer/topology"
)

// keeperStore is the keeper's view of the servers, as the agent of node has it.
type keeperStore struct {
	engine *engine.Engine
	node   string
	// ends is told what the samples show of the log.
	ends *logEnds
}

// Sample implements keeper.Store. A node that is not ready for recoveries is
// not touched: nothing is made on a server that lacks a prerequisite.
func (k keeperStore) Sample(ctx context.Context) (keeper.Sample, error) {
	n := k.engine.Observe(ctx, k.node)
	if !n.Reachable {
		return keeper.Sample{}, fmt.Errorf("cannot read %s: %s", k.node, n.Problem)
	}
	k.ends.readOwn(k.node, n, time.Now())
	if f, blocked := n.Blocked(); blocked {
		return keeper.Sample{}, fmt.Errorf("%s is not ready (%s): %s; %s", k.node, f.Code, f.Detail, f.Remedy)
	}
	s := keeper.Sample{Identity: n.Identity, Flushed: n.Flushed, Progress: map[string]topology.LSN{}}
	for _, sub := range n.Subscriptions {
		if sub.Provider == "" {
			s.Unknown = append(s.Unknown, sub.Name)
			continue
		}
		s.Progress[sub.Provider] = max(s.Progress[sub.Provider], sub.Progress)
	}
	return s, nil
}

// PeerProgress implements keeper.Store.
func (k keeperStore) PeerProgress(ctx context.Context, peer string) (keeper.PeerView, error) {
	progress, err := k.engine.ProgressAll(ctx, peer)
	if err != nil {
		return keeper.PeerView{}, err
	}
	gaps, err := k.engine.Gaps(ctx, peer)
	if err != nil {
		return keeper.PeerView{}, err
	}
	v := keeper.PeerView{Name: peer, Reachable: true, Progress: maps.Clone(progress)}
	for _, g := range gaps {
		v.Gaps = append(v.Gaps, g.Origin)
	}
	return v, nil
}

// Slots implements keeper.Store.
func (k keeperStore) Slots(ctx context.Context) ([]topology.Slot, error) {
	return k.engine.Slots(ctx, k.node)
}

// CreateSeed implements keeper.Store. What the slot's WAL is to be decoded with
// comes first: a publication younger than the WAL cannot decode it.
func (k keeperStore) CreateSeed(ctx context.Context, peer string) error {
	if _, err := k.engine.EnsurePublication(ctx, k.node); err != nil {
		return err
	}
	return k.engine.CreateSeed(ctx, k.node, peer)
}

// Promote implements keeper.Store.
func (k keeperStore) Promote(ctx context.Context, peer string) error {
	return k.engine.Promote(ctx, k.node, peer)
}

// Advance implements keeper.Store.
func (k keeperStore) Advance(ctx context.Context, slot string, to topology.LSN) error {
	_, err := k.engine.AdvanceSlot(ctx, k.node, slot, to)
	return err
}

// StandbySnapshot implements keeper.Store.
func (k keeperStore) StandbySnapshot(ctx context.Context) error {
	return k.engine.StandbySnapshot(ctx, k.node)
}

// publicationsEvery is the pause between two looks at whether the node's
// publications still have all that the mesh replicates.
const publicationsEvery = 10 * time.Second

// keepPublications keeps what the node's log is decoded with in step with the
// mesh. A table that joins it later than the mesh cannot be decoded for the time
// between, so the planner compares.
func (a *Agent) keepPublications(ctx context.Context) {
	tick := time.NewTicker(publicationsEvery)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, _ := a.view.observation().Node(a.node)
		if _, blocked := n.Blocked(); !n.Reachable || blocked || n.InRecovery {
			continue
		}
		changed, err := a.engine.EnsurePublication(ctx, a.node)
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		switch {
		case ctx.Err() != nil:
			return
		case changed:
			a.log.Info("publications follow the mesh", "node", a.node)
		case problem != "" && problem != told:
			a.log.Warn("publications are not kept: "+problem, "node", a.node)
		}
		told = problem
	}
}
