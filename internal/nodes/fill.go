package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"healer/compare"
	"healer/internal/verify"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/postgres/transfer"
	"healer/topology"
)

// fence keeps the survivors from reading what the node's server was, or is before
// it is complete.
func (r *rebuild) fence(ctx context.Context) error {
	for _, n := range r.others(r.o.node) {
		sub, ok := n.From(r.o.node)
		if !ok || !sub.Enabled {
			continue
		}
		if _, err := r.Engine.Fence(ctx, n.Name, sub, r.target().Identity); err != nil {
			return err
		}
	}
	return nil
}

// clear removes what feeds the node, and what it had: of its earlier life, or of a
// run that did not come to its end.
func (r *rebuild) clear(ctx context.Context) error {
	n := r.target()
	for _, s := range n.Subscriptions {
		if s.Provider != "" {
			if err := r.Engine.DropSubscription(ctx, n.Name, s.ID); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	for _, p := range r.others(r.o.node) {
		if err := r.Engine.DropMeshSlot(ctx, n.Name, r.back[p.Name].Slot); err != nil {
			return err
		}
		for _, s := range p.Slots {
			if (s.Kind == topology.SlotMesh && s.To == n.Name) || slices.Contains(r.o.slots, p.Name+"/"+s.Name) {
				if err := r.Engine.DropMeshSlot(ctx, p.Name, s.Name); err != nil {
					return err
				}
			}
		}
	}
	there, _, err := r.present(ctx)
	if err != nil || len(there) == 0 {
		return err
	}
	var list []string
	for _, t := range there {
		list = append(list, ident(t))
	}
	// The tables are empty unless they are to be emptied: see empty.
	return r.Servers[n.Name].Slow(ctx, "TRUNCATE "+strings.Join(list, ", "), nil)
}

// makeSlots makes the slots of all survivors but the source, and waits until the
// source has applied all that came before them: what is not in the snapshot is
// then in a slot.
func (r *rebuild) makeSlots(ctx context.Context) error {
	var pairs []engine.Pair
	for _, p := range r.peers {
		if p == r.source {
			continue
		}
		if err := r.Servers[p].CreateSlot(ctx, r.to[p].Slot, "pgoutput"); err != nil {
			return err
		}
		pairs = append(pairs, engine.Pair{From: p, To: r.source})
	}
	return r.barrier(ctx, pairs)
}

// barrier is the engine's, bounded.
func (r *rebuild) barrier(ctx context.Context, pairs []engine.Pair) error {
	limited, cancel := context.WithTimeout(ctx, r.o.catchUp)
	defer cancel()
	err := r.Engine.Barrier(limited, pairs)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return &topology.Fault{
			Class: topology.Transient, Code: "replication_late", Err: err,
			Hint: "see what holds up the replication, and run the command again, or allow it more time with --catch-up-limit",
		}
	}
	return err
}

// fill copies the tables as they are in one snapshot of the source, and lets the
// node read from everybody where the snapshot ends.
func (r *rebuild) fill(ctx context.Context) error {
	snap, progress, err := r.snapshot(ctx)
	if err != nil {
		return err
	}
	taken := false
	defer func() {
		if !taken {
			snap.Close()
		}
	}()
	tables := make([]transfer.Table, len(r.tables))
	for i, t := range r.tables {
		tables[i] = transfer.Table{TableName: t.TableName, Columns: t.Columns, Filter: t.Filter}
	}
	show, err := r.showCopy(ctx)
	if err != nil {
		return err
	}
	defer show.Stop()
	r.result.RowsCopied, err = transfer.Run(ctx, transfer.Options{
		From: r.Servers[r.source], To: r.Servers[r.o.node], Snapshot: snap.Name, Tables: tables, Jobs: r.o.jobs,
		Done:  func(t transfer.Table, rows int64) { fmt.Fprintf(show, "  %s: %d rows\n", t.TableName, rows) },
		Moved: show.moved,
	}, func() {
		taken = true
		snap.Close()
	})
	if err != nil {
		return err
	}
	progress[r.source] = snap.At
	var ids []uint32
	for _, p := range r.peers {
		id, err := r.Engine.Join(ctx, r.o.node, r.to[p], progress[p], 0)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if err := r.Engine.Enable(ctx, r.o.node, id); err != nil {
			return err
		}
	}
	return nil
}

// movedTries is how often a snapshot is made again because somebody let the source
// apply meanwhile: agents do, for they take a fence of a living node for one that
// was left behind.
const movedTries = 20

// snapshot makes the source's slot for the node with its snapshot, and returns
// what of each other survivor is in it.
func (r *rebuild) snapshot(ctx context.Context) (*postgres.Snapshot, map[string]topology.LSN, error) {
	for range movedTries {
		began := time.Now()
		snap, before, after, err := r.still(ctx)
		if err == nil && maps.Equal(before, after) {
			r.result.PauseMS = time.Since(began).Milliseconds()
			return snap, before, nil
		}
		if snap != nil {
			snap.Close()
			err = errors.Join(err, r.Engine.DropMeshSlot(ctx, r.source, r.to[r.source].Slot))
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, &topology.Fault{
		Class: topology.Transient, Code: "source_moved", Node: r.source, Hint: "run the command again",
		Err: errors.New("somebody let the source apply changes while its snapshot was made"),
	}
}

// still makes the snapshot while the source applies nothing, and reads what it has
// applied of each peer before and after. The position of an origin moves in memory
// before its transaction can be seen, and no worker is left when it is read the
// first time; so where both are equal, the snapshot has just that.
func (r *rebuild) still(ctx context.Context) (snap *postgres.Snapshot, before, after map[string]topology.LSN, err error) {
	source, _ := r.seen.Node(r.source)
	limited, cancel := context.WithTimeout(ctx, r.o.pause)
	defer cancel()
	var fences []topology.Fence
	defer func() {
		again, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeLimit)
		defer cancel()
		for _, f := range fences {
			err = errors.Join(err, r.Engine.Unfence(again, r.source, f))
		}
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			err = &topology.Fault{
				Class: topology.Transient, Code: "source_busy", Node: r.source, Err: err,
				Hint: "a transaction runs for long there (pg_stat_activity.xact_start): let it end, and run the command again, or raise --pause-limit",
			}
		}
	}()
	for _, p := range r.peers {
		if p == r.source {
			continue
		}
		peer, _ := r.seen.Node(p)
		sub, _ := source.From(p)
		fence, err := r.Engine.Fence(limited, r.source, sub, peer.Identity)
		if fence.Mark != "" {
			fences = append(fences, fence)
		}
		if err != nil {
			return nil, nil, nil, err
		}
	}
	if before, err = r.progress(limited, source); err != nil {
		return nil, nil, nil, err
	}
	if snap, err = r.Servers[r.source].CreateSlotSnapshot(limited, r.to[r.source].Slot, "pgoutput"); err != nil {
		return nil, nil, nil, err
	}
	after, err = r.progress(limited, source)
	return snap, before, after, err
}

// progress is what the source has applied of each peer.
func (r *rebuild) progress(ctx context.Context, source topology.NodeState) (map[string]topology.LSN, error) {
	out := map[string]topology.LSN{}
	for _, p := range r.peers {
		if sub, ok := source.From(p); ok && p != r.source {
			lsn, err := r.Engine.Progress(ctx, r.source, sub.Origin, false)
			if err != nil {
				return nil, err
			}
			out[p] = lsn
		}
	}
	return out, nil
}

// catchUp waits until the node has applied what everybody had committed.
func (r *rebuild) catchUp(ctx context.Context) error {
	if err := r.observe(ctx); err != nil {
		return err
	}
	var pairs []engine.Pair
	for _, p := range r.peers {
		pairs = append(pairs, engine.Pair{From: p, To: r.o.node})
	}
	return r.barrier(ctx, pairs)
}

// joinBack lets the survivors read from the node, from now on.
func (r *rebuild) joinBack(ctx context.Context) error {
	if err := r.observe(ctx); err != nil {
		return err
	}
	for _, n := range r.others(r.o.node) {
		sub, has := n.From(r.o.node)
		_, fenced := n.FenceOf(r.o.node)
		if has && sub.Enabled && !fenced {
			continue // of an earlier run: the old one was fenced before anything else
		}
		link := r.back[n.Name]
		if err := r.Engine.DropMeshSlot(ctx, r.o.node, link.Slot); err != nil {
			return err
		}
		if err := r.Servers[r.o.node].CreateSlot(ctx, link.Slot, "pgoutput"); err != nil {
			return err
		}
		slot, _, err := r.Servers[r.o.node].Slot(ctx, link.Slot)
		if err != nil {
			return err
		}
		id, err := r.Engine.Join(ctx, n.Name, link, slot.Confirmed, sub.ID)
		if err != nil {
			return err
		}
		if err := r.Engine.Enable(ctx, n.Name, id); err != nil {
			return err
		}
		// Marks that have lost their subscription.
		for _, f := range n.Fences {
			if f.Origin == r.o.node {
				if err := r.Engine.ForgetMark(ctx, n.Name, r.o.node, f.Mark); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// verify compares all rows of all nodes.
func (r *rebuild) verify(ctx context.Context) error {
	tell, end := verify.Watch(r.out)
	report, err := verify.Whole(ctx, r.cfg, r.o.catchUp, tell)
	end()
	if err != nil {
		return err
	}
	r.result.RowsCompared = report.Rows
	for _, d := range report.Differences {
		if differs(d, r.o.node, r.source) {
			return &topology.Fault{
				Class: topology.Permanent, Code: "diverged", Node: r.o.node,
				Hint: "see healer verify; did anybody write to " + r.o.node + "? then run the command again with --wipe",
				Err:  fmt.Errorf("table %s: row %v is not the same on %s and %s", d.Table, d.Key, r.o.node, r.source),
			}
		}
	}
	if report.Result != compare.Equal {
		r.result.Notes = append(r.result.Notes, fmt.Sprintf(
			"the comparison ended %s: %d rows differ between other nodes, %d never came to rest: healer verify", report.Result, report.Differing, report.Unsettled))
	}
	return nil
}

// differs reports whether two nodes have different versions of a row.
func differs(d compare.Difference, a, b string) bool {
	digest := func(node string) (string, int64) {
		for _, v := range d.Versions {
			if v.Node == node {
				return v.Digest, v.Copies
			}
		}
		return "", 0
	}
	da, na := digest(a)
	db, nb := digest(b)
	return da != db || na != nb
}
