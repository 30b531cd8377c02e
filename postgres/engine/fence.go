package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

const (
	// pollEvery is how often a worker is looked at: nothing in SQL can be
	// awaited until it is idle or gone.
	pollEvery = 20 * time.Millisecond
	// stopLimit is how long a disabled worker may take to stop when ctx has
	// no deadline: it finishes the transaction it is in.
	stopLimit = 30 * time.Second
)

// Drain waits until what the subscription received is applied: its worker is
// gone, or idle in two readings in a row. It returns what it saw last; after
// limit that may be a busy worker, and is no error. It saves what can be saved:
// PostgreSQL's worker itself gives up what it has received and not begun to
// apply when, between transactions, it cannot send a status to its provider.
func (e *Engine) Drain(ctx context.Context, node string, sub topology.Subscription, limit time.Duration) (topology.WorkerState, error) {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return topology.WorkerNone, err
	}
	end := time.Now().Add(limit)
	for idle := 0; ; {
		now, _, err := e.byID(ctx, s, sub.ID)
		if err != nil {
			return topology.WorkerNone, err
		}
		state := now.State(t)
		if state == topology.WorkerIdle {
			idle++
		} else {
			idle = 0
		}
		if state == topology.WorkerNone || idle == 2 || time.Now().After(end) {
			return state, nil
		}
		if err := postgres.Pause(ctx, pollEvery); err != nil {
			return state, err
		}
	}
}

// Fence disables the subscription to the lost node sub.Provider, leaves the
// mark of that in the same transaction, and waits until nothing of the
// subscription can apply any more. It may be repeated.
//
// A subscription that somebody else has disabled stays as it is, unmarked,
// and is returned as a fence without a Mark: progress stands as still as
// behind a fence, and Unfence will leave it disabled, as its owner wanted. If
// its owner enables it meanwhile, nothing is harmed: its worker and a recovery
// cannot hold the origin at once.
//
// A worker that does not stop in time, for it waits for a lock, is a transient
// fault "worker_running"; the subscription is disabled and marked then.
func (e *Engine) Fence(ctx context.Context, node string, sub topology.Subscription, lost topology.Identity) (topology.Fence, error) {
	s, err := e.server(node)
	if err != nil {
		return topology.Fence{}, err
	}
	if sub.Provider == "" {
		return topology.Fence{}, topology.Faultf(topology.Permanent, "no_provider",
			"%s: subscription %q cannot be fenced: which node it reads from is unknown", node, sub.Name)
	}
	t, err := e.tongue(ctx, s)
	if err != nil {
		return topology.Fence{}, err
	}
	var fence topology.Fence
	err = s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		fence, err = fenceTx(ctx, tx, s, t, sub, lost)
		return err
	})
	if err != nil {
		return topology.Fence{}, err
	}
	if p := t.plugged(); p != nil && fence.Mark != "" {
		if err := s.Exec(ctx, p.Halt(fence.Subscription)); err != nil {
			return fence, err
		}
	}
	if err := e.awaitStop(ctx, s, t, sub.ID); err != nil {
		return fence, err
	}
	return fence, t.settle(ctx, s, sub.ID)
}

func fenceTx(ctx context.Context, tx postgres.Tx, s *postgres.Server, t tongue, sub topology.Subscription, lost topology.Identity) (topology.Fence, error) {
	marks, err := postgres.LockMarks(ctx, tx, mark.FencesOf(s.Database(), sub.ID))
	if err != nil {
		return topology.Fence{}, err
	}
	now, err := lookup(ctx, tx, s, t, sub.ID)
	if err != nil {
		return topology.Fence{}, err
	}
	if !now.exists {
		return topology.Fence{}, noSubscription(s, sub)
	}
	fence := topology.Fence{Subscription: now.name, Origin: sub.Provider, Identity: lost}
	marked := false
	for _, name := range marks {
		m, ok := mark.ParseFence(s.Database(), name)
		if !ok {
			continue
		}
		if m.Fence.Origin != sub.Provider {
			return topology.Fence{}, &topology.Fault{
				Class: topology.Conflict, Code: "fenced_otherwise", Node: s.Name(),
				Hint: "let the other recovery end first",
				Err:  fmt.Errorf("subscription %q is fenced off from %s, not %s", now.name, m.Fence.Origin, sub.Provider),
			}
		}
		// The mark that is there counts: it was made when the loss was new.
		fence.Identity, fence.Mark, marked = m.Fence.Identity, name, true
	}
	if !marked {
		if !now.enabled {
			return fence, nil
		}
		fence.Mark = mark.Fence(s.Database(), sub.ID, sub.Provider, lost)
		fence.Identity.StartedAt = 0 // as it is read back
		if err := postgres.CreateMark(ctx, tx, fence.Mark); err != nil {
			return topology.Fence{}, err
		}
	}
	if now.enabled {
		_, err = tx.Exec(ctx, t.Disable(now.name))
	}
	return fence, err
}

// Unfence enables the subscription of a fence and removes its mark in one
// transaction. Without the mark there is nothing to do: somebody else did it,
// or the subscription was not Healer's to enable.
func (e *Engine) Unfence(ctx context.Context, node string, fence topology.Fence) error {
	s, err := e.server(node)
	if err != nil || fence.Mark == "" {
		return err
	}
	m, ok := mark.ParseFence(s.Database(), fence.Mark)
	if !ok {
		return topology.Faultf(topology.Permanent, "bad_mark", "%q is not a fence mark of database %s", fence.Mark, s.Database())
	}
	t, err := e.tongue(ctx, s)
	if err != nil {
		return err
	}
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		marks, err := postgres.LockMarks(ctx, tx, mark.FencesOf(s.Database(), m.Subscription))
		if err != nil {
			return err
		}
		found := false
		for _, name := range marks {
			found = found || name == fence.Mark
		}
		if !found {
			return nil
		}
		if err := postgres.DropMark(ctx, tx, fence.Mark); err != nil {
			return err
		}
		now, err := lookup(ctx, tx, s, t, m.Subscription)
		if err != nil || !now.exists || now.enabled {
			return err
		}
		_, err = tx.Exec(ctx, t.Enable(now.name))
		return err
	})
}

// found is what a transaction sees of a subscription.
type found struct {
	exists  bool
	name    string
	enabled bool
}

// lookup reads a subscription by its id: a name may have changed.
func lookup(ctx context.Context, tx postgres.Tx, s *postgres.Server, t tongue, id uint32) (found, error) {
	rows, err := tx.Query(ctx, t.Find(), int64(id))
	if err != nil {
		return found{}, err
	}
	defer rows.Close()
	var f found
	for rows.Next() {
		f.exists = true
		if err := rows.Scan(&f.name, &f.enabled); err != nil {
			return found{}, fmt.Errorf("%s: subscription: %w", s.Name(), err)
		}
	}
	return f, rows.Err()
}

// awaitStop waits until no worker of a disabled subscription is left: a worker
// looks at its subscription again before each transaction it begins. Those that still
// try to reach a publisher who does not answer are ended: they have received nothing,
// so nothing is lost with them; but they hold the origin, which the recovery needs, for
// as long as TCP keeps trying.
func (e *Engine) awaitStop(ctx context.Context, s *postgres.Server, t tongue, id uint32) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	for {
		now, ok, err := e.byID(ctx, s, id)
		if err == nil && (!ok || len(now.Workers) == 0) {
			return nil
		}
		if err == nil && now.Stopped(t) {
			var ended int
			err = s.JSON(ctx, &ended, t.EndConnecting(), int64(id))
		}
		if err == nil {
			err = postgres.Pause(ctx, pollEvery)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return &topology.Fault{
				Class: topology.Transient, Code: "worker_running", Node: s.Name(),
				Hint: "see pg_blocking_pids() of the apply worker: end the session it waits for",
				Err:  fmt.Errorf("the apply worker of subscription %q is disabled but still in a transaction: %w", now.Name, err),
			}
		}
		if err != nil {
			return err
		}
	}
}

func noSubscription(s *postgres.Server, sub topology.Subscription) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "no_subscription", Node: s.Name(),
		Hint: "what it had applied cannot be known any more: rebuild the node",
		Err:  fmt.Errorf("subscription %q (oid %d) does not exist", sub.Name, sub.ID),
	}
}
