package engine

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

// Pair is one direction of replication.
type Pair struct{ From, To string }

// Barrier returns when each pair's To has applied everything that its From had
// committed when Barrier was called. A pair whose subscription Healer fenced
// is passed over: it stands still on purpose. One that somebody else disabled
// can never pass, so it is a fault ("subscription_disabled"). Only ctx bounds
// the waiting.
func (e *Engine) Barrier(ctx context.Context, pairs []Pair) error {
	open, err := e.open(ctx, pairs)
	if err != nil {
		return err
	}
	targets := make(map[string]topology.LSN)
	for _, p := range open {
		if _, ok := targets[p.From]; ok {
			continue
		}
		if targets[p.From], err = e.Flush(ctx, p.From); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range open {
		group.Go(func() error { return e.awaitApplied(ctx, p, targets[p.From]) })
	}
	return group.Wait()
}

// passage is a pair with its subscription.
type passage struct {
	Pair
	sub Subscription
}

// open looks up the pairs' subscriptions and leaves the fenced ones out.
func (e *Engine) open(ctx context.Context, pairs []Pair) ([]passage, error) {
	var open []passage
	for _, p := range pairs {
		s, sub, err := e.reading(ctx, p.To, p.From)
		if err != nil {
			return nil, err
		}
		if sub.Enabled {
			open = append(open, passage{p, sub})
			continue
		}
		fenced, err := isFenced(ctx, s, sub.ID)
		if err != nil {
			return nil, err
		}
		if !fenced {
			return nil, disabled(p.To, sub.Name)
		}
	}
	return open, nil
}

func isFenced(ctx context.Context, s *postgres.Server, oid uint32) (bool, error) {
	var names []string
	if err := s.JSON(ctx, &names, "SELECT "+postgres.MarksJSON); err != nil {
		return false, err
	}
	for _, name := range names {
		if m, ok := mark.ParseFence(s.Database(), name); ok && m.Subscription == oid {
			return true, nil
		}
	}
	return false, nil
}

// appliedSQL is how far the subscriber says it is. What it has flushed it has
// applied; the walsender's replay_lsn is ahead of that, but only a role that
// may read statistics sees it.
const appliedSQL = `SELECT to_jsonb(greatest(
	(SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1),
	(SELECT r.replay_lsn FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE s.slot_name = $1),
	'0/0'::pg_lsn))`

// awaitApplied waits until p.To has applied p.From's log up to lsn. The
// subscriber's own progress stops at the last transaction that changed a table
// of its; what it confirms to its walsender goes further.
func (e *Engine) awaitApplied(ctx context.Context, p passage, lsn topology.LSN) error {
	from, err := e.server(p.From)
	if err != nil {
		return err
	}
	for pause := pollEvery / 2; ; pause = min(2*pause, 5*pollEvery) {
		var applied topology.LSN
		if err := from.JSON(ctx, &applied, appliedSQL, p.sub.Slot); err != nil {
			return err
		}
		if applied >= lsn {
			return nil
		}
		if err := postgres.Pause(ctx, pause); err != nil {
			return fmt.Errorf("%s has applied %s up to %v, not yet to %v: %w", p.To, p.From, applied, lsn, err)
		}
	}
}

func disabled(node, subscription string) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "subscription_disabled", Node: node,
		Hint: "ALTER SUBSCRIPTION " + postgres.Ident(subscription) + " ENABLE",
		Err:  fmt.Errorf("subscription %q was disabled, and not by Healer", subscription),
	}
}
