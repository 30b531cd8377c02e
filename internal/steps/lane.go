package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"healer/planner"
	"healer/rescue"
	"healer/topology"
)

// lingering is how long the server may take to notice that the apply session
// this run has lost is dead. Until then its lock is our own, not a rival's.
const lingering = 15 * time.Second

// lane is what a run holds for one laggard: the apply session, which is the
// lock, and the keys that were seen while replaying. It is used by one step at
// a time.
type lane struct {
	planner.Lane

	mu      sync.Mutex
	session *rescue.Session
	lostAt  time.Time
	touched *rescue.Touched
	// equal is true when this run has shown the rows of a gap that is carried as
	// rows to be equal.
	equal bool
	// conflicts are those of all attempts: each transaction is applied by one.
	conflicts topology.ConflictLog
}

// laneOf finds the lane of a step in the plan as it stands, and its state.
func (r *Run) laneOf(p planner.Plan, s planner.Step) (*lane, error) {
	for _, pl := range p.Lanes {
		if pl.Target != s.Target {
			continue
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		l, ok := r.lanes[s.Target]
		if !ok {
			l = &lane{}
			r.lanes[s.Target] = l
		}
		l.Lane = pl
		return l, nil
	}
	return nil, topology.Faultf(topology.Permanent, "lane_unknown", "the plan has no lane for %q", s.Target)
}

// acquire returns the lane's apply session, opening it when there is none. A
// rival in possession is a Conflict.
func (r *Run) acquire(ctx context.Context, p planner.Plan, l *lane) (*rescue.Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != nil {
		return l.session, nil
	}
	target, sub, err := r.seen(p, l.Target)
	if err != nil {
		return nil, err
	}
	resolution, err := r.resolution(ctx, p)
	if err != nil {
		return nil, err
	}
	conn, err := r.session(ctx, l.Target)
	if err != nil {
		return nil, err
	}
	session, err := rescue.NewSession(ctx, conn, rescue.Target{
		Node: l.Target, Origin: p.Node, OriginName: sub.Origin, Authors: target.Authors(), Conflicts: resolution,
	})
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, l.lockFault(r.Wrap(l.Target, err))
	}
	l.session = session
	return session, nil
}

// proven makes sure that a survivor really has what its progress says, before others
// are given it or its gap mark goes. PostgreSQL moves the progress of a session
// that is ended between a transaction's last statement and its COMMIT, although it
// aborts. As long as another survivor has that transaction, it is carried over
// again; when the source it came from is gone, only the node itself can tell.
func (r *Run) proven(ctx context.Context, p planner.Plan, node string) error {
	state, sub, err := r.seen(p, node)
	if err != nil || !r.doubtful(p, node) {
		return err
	}
	conn, err := r.session(ctx, node)
	if err != nil {
		return err
	}
	session, err := rescue.NewSession(ctx, conn, rescue.Target{
		Node: node, Origin: p.Node, OriginName: sub.Origin, Authors: state.Authors(),
	})
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return r.Wrap(node, err)
	}
	defer func() { _ = session.Close(context.WithoutCancel(ctx)) }()
	ok, err := session.Proven(ctx)
	if err != nil || ok {
		return r.Wrap(node, err)
	}
	return &topology.Fault{
		Class: topology.Permanent, Code: "progress_unproven", Node: node,
		Hint: "start the node again that the gap was carried from: it has the transaction",
		Err: fmt.Errorf("a recovery of %s broke off on %s, and no other survivor has transaction %s: whether it was committed cannot be told",
			p.Node, node, session.Progress()),
	}
}

// doubtful reports whether nobody but the node itself, to which an unfinished
// recovery has carried transactions, stands for its progress.
func (r *Run) doubtful(p planner.Plan, node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	carried := func(name string) (topology.LSN, bool) {
		n, _ := r.obs.Node(name)
		sub, _ := n.From(p.Node)
		gap, marked := n.GapOf(p.Node)
		return sub.Progress, marked && sub.Progress > gap.From
	}
	at, ok := carried(node)
	if !ok {
		return false
	}
	return !slices.ContainsFunc(p.Survivors, func(other string) bool {
		theirs, ok := carried(other)
		return !ok && theirs >= at
	})
}

// lockFault tells a rival from the remains of the session this run has lost.
func (l *lane) lockFault(err error) error {
	if topology.ClassOf(err) != topology.Conflict || l.lostAt.IsZero() || time.Since(l.lostAt) > lingering {
		return err
	}
	return &topology.Fault{
		Class: topology.Transient, Code: "lock_lingers", Node: l.Target,
		Err: fmt.Errorf("the lost apply session still holds its lock: %w", err),
	}
}

// met adds the conflicts of an attempt and returns those of all.
func (l *lane) met(c topology.ConflictLog) *topology.ConflictLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conflicts.Merge(c)
	all := l.conflicts.First(topology.ListedConflicts)
	return &all
}

// broken gives up the session after an error that may have ended it. The next
// attempt opens another and goes on from the progress it finds.
func (l *lane) broken(ctx context.Context) {
	_ = l.drop(ctx)
	l.mu.Lock()
	l.lostAt = time.Now()
	l.mu.Unlock()
}

// touch keeps the keys that a replay has touched, in place of those of another.
func (l *lane) touch(keys *rescue.Touched) error {
	l.mu.Lock()
	old := l.touched
	l.touched = keys
	l.mu.Unlock()
	return old.Close()
}

// drop ends the session if there is one.
func (l *lane) drop(ctx context.Context) error {
	l.mu.Lock()
	session := l.session
	l.session = nil
	l.mu.Unlock()
	if session == nil {
		return nil
	}
	return session.Close(ctx)
}

// seen returns what the observation behind the fences has of a survivor, and
// its subscription to the lost node.
func (r *Run) seen(p planner.Plan, node string) (topology.NodeState, topology.Subscription, error) {
	n, err := r.observed(node)
	if err != nil {
		return n, topology.Subscription{}, err
	}
	sub, err := reading(n, p.Node)
	return n, sub, err
}

// observed returns what the run's observation has of a node.
func (r *Run) observed(node string) (topology.NodeState, error) {
	r.mu.Lock()
	n, ok := r.obs.Node(node)
	r.mu.Unlock()
	if !ok || !n.Reachable {
		return n, &topology.Fault{
			Class: topology.Transient, Code: "not_observed", Node: node,
			Err: errors.New("the node was not observed behind the fences"),
		}
	}
	return n, nil
}

// tables are those that a survivor replicates from the lost node. A table that
// another survivor receives through the same publications is one of them although
// the survivor does not know it: it is missing there, which must not go unsaid, or
// it was made since, and its subscription cannot ask the lost node about it.
func (r *Run) tables(ctx context.Context, p planner.Plan, node string, sub topology.Subscription) ([]topology.TableName, error) {
	all, err := r.Engine.Tables(ctx, node, sub)
	if err != nil {
		return nil, err
	}
	for _, other := range p.Survivors {
		if other == node {
			continue
		}
		_, theirs, err := r.seen(p, other)
		if err != nil {
			return nil, err
		}
		more, err := r.Engine.Unknown(ctx, node, sub, other, theirs)
		if err != nil {
			return nil, err
		}
		for _, t := range more {
			if !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
	}
	return all, nil
}
