package steps

import (
	"context"
	"fmt"
	"slices"

	"healer/executor"
	"healer/planner"
	"healer/postgres/engine"
	"healer/rescue"
	"healer/topology"
)

// checkVerify: never done before, because nothing durable says so but the
// absence of a gap mark, and then there is no verify step.
func (r *Run) checkVerify(context.Context, planner.Plan, planner.Step) (bool, string, error) {
	return false, "", nil
}

// applyVerify proves the survivors equal: the watermark by progress on disk,
// then the rows that the gaps touched, behind a barrier.
func (r *Run) applyVerify(ctx context.Context, p planner.Plan, _ planner.Step) (executor.Result, error) {
	if err := r.complete(p); err != nil {
		return executor.Result{}, err
	}
	if err := r.atWatermark(ctx, p); err != nil {
		return executor.Result{}, err
	}
	var touched []*rescue.Touched
	for _, pl := range p.Lanes {
		l, err := r.laneOf(p, planner.Step{Target: pl.Target})
		if err != nil {
			return executor.Result{}, err
		}
		l.mu.Lock()
		if l.touched != nil {
			touched = append(touched, l.touched)
		}
		l.mu.Unlock()
	}
	if len(touched) == 0 && len(r.takenOff()) == 0 {
		said := "no row was touched"
		if slices.ContainsFunc(p.Lanes, func(l planner.Lane) bool { return l.Rows }) {
			said = "the rows were compared when they were carried"
		}
		return executor.Result{Evidence: fmt.Sprintf("every survivor is at %s and %s", p.Watermark, said)}, nil
	}
	report, err := r.compare(ctx, p, touched)
	r.mu.Lock()
	r.found.Merge(report.Conflicts)
	conflicts := r.found.First(topology.ListedConflicts)
	r.mu.Unlock()
	if err != nil {
		return executor.Result{Conflicts: &conflicts}, err
	}
	for _, t := range r.Uncompared() {
		_ = t.Close() // they are compared
	}
	return executor.Result{
		Evidence: fmt.Sprintf("every survivor is at %s; %d touched rows compared on %d nodes, %d differed, %d repaired",
			p.Watermark, report.Rows, len(p.Survivors), report.Differing, report.Repaired),
		Conflicts: &conflicts,
		Figures: map[string]int64{
			executor.FigureCompared: report.Rows,
			executor.FigureRepaired: report.Repaired,
		},
	}, nil
}

// atWatermark reads each survivor's progress, on disk: a laggard has its gap,
// and nobody else has moved since the fences.
func (r *Run) atWatermark(ctx context.Context, p planner.Plan) error {
	for _, node := range p.Survivors {
		_, sub, err := r.seen(p, node)
		if err != nil {
			return err
		}
		at, err := r.Engine.Progress(ctx, node, sub.Origin, true)
		if err != nil {
			return err
		}
		lane, lagged := p.Lane(node)
		if (lagged && at < lane.To) || (!lagged && at != sub.Progress) {
			return &topology.Fault{
				Class: topology.Permanent, Code: "off_watermark", Node: node,
				Hint: "somebody else changed the replication origin " + sub.Origin + ": healer status",
				Err:  fmt.Errorf("progress of %s is %s, was %s at the fence, the watermark is %s", p.Node, at, sub.Progress, p.Watermark),
			}
		}
	}
	return nil
}

// compare runs rescue.Verify over a connection to each survivor.
// As long as rows are taken off while it waits, it compares anew: of these some had
// been found equal before.
func (r *Run) compare(ctx context.Context, p planner.Plan, touched []*rescue.Touched) (all rescue.VerifyReport, err error) {
	for freed := 1; freed > 0 && err == nil; {
		freed = 0
		var report rescue.VerifyReport
		report, err = r.compareOnce(ctx, p, append(slices.Clip(touched), r.takenOff()...), &freed)
		all.Rows, all.Tables = report.Rows, report.Tables
		all.Differing += report.Differing
		all.Repaired += report.Repaired
		all.Conflicts.Merge(report.Conflicts)
	}
	return all, err
}

func (r *Run) compareOnce(ctx context.Context, p planner.Plan, touched []*rescue.Touched, freed *int) (rescue.VerifyReport, error) {
	peers, err := r.peers(ctx, p)
	defer closeAll(ctx, peers)
	if err != nil {
		return rescue.VerifyReport{}, err
	}
	resolution, err := r.resolution(ctx, p)
	if err != nil {
		return rescue.VerifyReport{}, err
	}
	report, err := rescue.Verify(ctx, peers, touched, r.barrier(p, touched, freed), rescue.Policy{Conflicts: resolution})
	return report, r.Wrap("", err)
}

// peers opens a connection to each survivor; those that were opened are returned
// with an error too.
func (r *Run) peers(ctx context.Context, p planner.Plan) ([]rescue.Peer, error) {
	peers, err := r.sessions(ctx, p.Survivors)
	if err != nil {
		return peers, err
	}
	apart := r.apart(p)
	for i := range peers {
		peer := &peers[i]
		_, sub, err := r.seen(p, peer.Node)
		if err != nil {
			return peers, err
		}
		if peer.Tables, err = r.tables(ctx, p, peer.Node, sub); err != nil {
			return peers, err
		}
		peer.Apart = slices.Contains(apart, peer.Node)
	}
	return peers, nil
}

// sessions opens one to each node that was observed, for all tables.
func (r *Run) sessions(ctx context.Context, nodes []string) (peers []rescue.Peer, err error) {
	for _, node := range nodes {
		n, err := r.observed(node)
		if err != nil {
			return peers, err
		}
		conn, err := r.session(ctx, node)
		if err != nil {
			return peers, err
		}
		peers = append(peers, rescue.Peer{Node: node, Conn: conn, Authors: n.Authors()})
	}
	return peers, nil
}

func closeAll(ctx context.Context, peers []rescue.Peer) {
	for _, peer := range peers {
		_ = peer.Conn.Close(context.WithoutCancel(ctx))
	}
}

// mutual lists both directions of every pair of nodes.
func mutual(nodes []string) []engine.Pair {
	var pairs []engine.Pair
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				pairs = append(pairs, engine.Pair{From: a, To: b})
			}
		}
	}
	return pairs
}
