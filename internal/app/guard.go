package app

import (
	"context"
	"time"

	"healer/config"
	"healer/events"
	"healer/keeper"
	"healer/topology"
)

// guard gives up slots of this node that hold back too much WAL for a node that
// stays lost, before they fill the disk. Each agent answers for its own node.
func (a *Agent) guard(ctx context.Context, s situation) {
	own, ok := s.obs.Node(a.node)
	absence := a.absence(s)
	if !ok || !own.Reachable || a.cfg.Mode != config.ModeAuto || a.capped() {
		return
	}
	limits := keeper.GuardLimits{
		MaxBytes: a.cfg.Slots.MaxBytes, After: a.cfg.Slots.ReleaseAfter, Mesh: a.cfg.Slots.ReleaseMeshSlots,
	}
	ours := func(name string) bool {
		for _, to := range a.cfg.Names() {
			if name == topology.MeshSlotName(own.Database, a.node, to) {
				return true
			}
		}
		return false
	}
	for _, r := range keeper.Releases(limits, absence, own.Slots, ours) {
		if err := a.giveUp(ctx, r); err != nil {
			a.log.Warn("a slot is not released: tried again at the next pass", "slot", r.Slot.Name, "error", err)
		}
	}
}

// absence is who is lost, and since when this agent knows.
func (a *Agent) absence(s situation) keeper.Absence {
	lost := s.lost()
	since := map[string]time.Time{}
	out := keeper.Absence{For: map[string]time.Duration{}}
	for _, node := range lost {
		since[node] = time.Now()
		if t, known := a.lostSince[node]; known {
			since[node] = t
		}
		if _, suspended := a.suspended()[node]; !suspended {
			out.For[node] = time.Since(since[node])
		}
	}
	a.lostSince = since
	alive := 0
	for _, n := range s.obs.Nodes {
		if _, is := since[n.Name]; n.Reachable && !is {
			alive++
		}
	}
	out.Majority = 2*alive > len(s.obs.Nodes)
	return out
}

// giveUp drops a slot and tells of it.
func (a *Agent) giveUp(ctx context.Context, r keeper.Release) error {
	drop, remedy := a.engine.DropSlot, ""
	if r.Slot.Kind == topology.SlotMesh {
		drop, remedy = a.engine.DropMeshSlot, "healer node rebuild "+r.Slot.To
	}
	if err := drop(ctx, a.node, r.Slot.Name); err != nil {
		return err
	}
	a.log.Error("slot released: "+r.Why, "slot", r.Slot.Name, "for", r.Slot.To, "remedy", remedy)
	a.tell(events.Fact{
		Cluster: a.cfg.Cluster, Kind: events.SlotReleased, Node: a.node, Detail: []string{r.Slot.Name, r.Slot.Confirmed.String()},
	}, events.Slot{Node: a.node, For: r.Slot.To, Slot: r.Slot, Why: r.Why, Remedy: remedy})
	return nil
}
