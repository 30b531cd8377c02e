package steps

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/executor"
	"healer/planner"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/rescue"
	"healer/topology"
)

// Engine is what the handlers need of the mesh. postgres/engine satisfies it.
type Engine interface {
	Observe(ctx context.Context, node string) topology.NodeState
	ObserveAll(ctx context.Context, lost ...string) topology.Observation
	Inspect(ctx context.Context, obs topology.Observation, origin string) (topology.Observation, error)

	Drain(ctx context.Context, node string, sub topology.Subscription, limit time.Duration) (topology.WorkerState, error)
	Fence(ctx context.Context, node string, sub topology.Subscription, lost topology.Identity) (topology.Fence, error)
	Unfence(ctx context.Context, node string, fence topology.Fence) error

	MarkGap(ctx context.Context, node, origin string, from, to topology.LSN) (topology.GapMark, error)
	UnmarkGap(ctx context.Context, node, origin string, to topology.LSN) error
	Owe(ctx context.Context, node, other, origin string) error
	ForgetMark(ctx context.Context, node, other, name string) error
	CloneSlot(ctx context.Context, node, src, dst string) error
	AdvanceSlot(ctx context.Context, node, name string, lsn topology.LSN) (topology.LSN, error)
	DropSlot(ctx context.Context, node, name string) error

	Flush(ctx context.Context, node string) (topology.LSN, error)
	Progress(ctx context.Context, node, originName string, flush bool) (topology.LSN, error)
	Prepared(ctx context.Context, node string, sub topology.Subscription) ([]string, error)
	Barrier(ctx context.Context, pairs []engine.Pair) error
	Tables(ctx context.Context, node string, sub topology.Subscription) ([]topology.TableName, error)
	Unknown(ctx context.Context, node string, sub topology.Subscription, other string, theirs topology.Subscription) ([]topology.TableName, error)
	Publications(ctx context.Context, source, target, lost string) ([]string, error)
	Format(ctx context.Context, source, target, lost string) (engine.Format, error)
	Filters(ctx context.Context, source, target, lost string) (map[topology.TableName]string, error)
	Queue(ctx context.Context, node string) (topology.TableName, error)
	Command(ctx context.Context, node, provider string, row map[string]string) (engine.Command, error)
	Done(ctx context.Context, node, lost string, lsn topology.LSN) (done bool, mark string, err error)
	Conflicts(ctx context.Context, nodes ...string) (string, error)

	Replicas(ctx context.Context, node, provider string) ([]engine.Replica, error)
	LastCommit(ctx context.Context, node string, sub topology.Subscription) (time.Time, error)
	Stamped(ctx context.Context, node string, sub topology.Subscription, since time.Time) (bool, error)
}

// Server opens connections to one node. *postgres.Server satisfies it.
type Server interface {
	Database() string
	Session(ctx context.Context) (*pgconn.PgConn, error)
	Replication(ctx context.Context) (*pgconn.PgConn, error)
	// ApplyFailures is how often the apply worker of each subscription has failed.
	ApplyFailures(ctx context.Context) (map[string]int64, error)
}

// Options are what a Run is made of.
type Options struct {
	Engine  Engine
	Servers map[string]Server
	// Wrap classifies the errors of a server.
	Wrap func(node string, err error) error
	// SafePoint returns the newest position of source's log known to lie
	// before the gap of a laggard that has applied origin up to from, and
	// false when none is known.
	SafePoint func(source, origin string, from topology.LSN) (topology.LSN, bool)
	// Trigger returns the trigger as it is now, with the nodes lost by now,
	// and Policy what the operator allows now.
	Trigger func() planner.Trigger
	Policy  func() planner.Policy
	// DrainLimit bounds the wait for an apply worker to finish what it has
	// received.
	DrainLimit time.Duration
	// Conflicts is what becomes of two writes of one row, where the engine itself does
	// nothing about them.
	Conflicts rescue.Resolution
	// SpillDir is where the touched keys of a large gap go; empty keeps them in
	// memory.
	SpillDir string
	// Earlier are rows that an earlier run of a recovery of the same node has left
	// uncompared; see Uncompared. They are the run's from then on.
	Earlier []*rescue.Touched
	Log     *slog.Logger
}

// Run is the state of one run of one plan: the sessions it holds and the keys
// it has seen. It serves as the run's Replanner.
type Run struct {
	Options

	mu    sync.Mutex
	obs   topology.Observation
	lanes map[string]*lane
	// comparing is held while rows are carried: each comparison is of whole tables
	// of all nodes, and the next one finds most of them equal.
	comparing sync.Mutex
	// free is held while touched keys are read to free workers.
	free sync.Mutex
	// off are the rows that were taken off although no gap is known to have touched them,
	// as long as they are not compared.
	off []*rescue.Touched
	// found are the conflicts of all comparisons: what one repairs the next finds
	// equal.
	found topology.ConflictLog
	// failures are how often each apply worker had failed when it was last looked at.
	failures map[worker]int64
	// held are the sessions that hold recovery locks for a rejoin.
	held []*pgconn.PgConn
	// owes is set when this run has marked that a node which it lets in is to be compared.
	owes bool
	// without are the survivors that were lost while a lane waited for all.
	without map[string]bool
}

// New makes the state of a run. Close it when the run has ended.
func New(o Options) *Run {
	return &Run{
		Options: o, lanes: map[string]*lane{}, off: slices.Clone(o.Earlier),
		failures: map[worker]int64{}, without: map[string]bool{},
	}
}

// Handlers is the table of verbs.
func (r *Run) Handlers() map[planner.StepKind]executor.Handler {
	return map[planner.StepKind]executor.Handler{
		planner.StepFence:     handler{r.checkFence, r.applyFence},
		planner.StepClone:     handler{r.checkClone, r.applyClone},
		planner.StepAdvance:   handler{r.checkAdvance, r.applyAdvance},
		planner.StepSubscribe: handler{r.checkSubscribe, r.applySubscribe},
		planner.StepRows:      handler{r.checkRows, r.applyRows},
		planner.StepVerify:    handler{r.checkVerify, r.applyVerify},
		planner.StepRelease:   handler{r.checkRelease, r.applyRelease},
		planner.StepCheck:     handler{r.checkIdentity, r.applyIdentity},
		planner.StepUnfence:   handler{r.checkUnfence, r.applyUnfence},
		planner.StepDrain:     handler{r.checkDrain, r.applyDrain},
		planner.StepCompare:   handler{r.checkCompare, r.applyCompare},
	}
}

// Replan observes the mesh again and plans anew. Observing is read-only and
// bounded, so what it finds is as fresh as it can be behind the fences.
func (r *Run) Replan(ctx context.Context, _ planner.Plan) (planner.Plan, *planner.Refusal, error) {
	trigger := r.Trigger()
	obs, err := r.look(ctx, trigger.Lost)
	if err != nil {
		return planner.Plan{}, nil, err
	}
	return Plan(ctx, r.Engine, trigger, obs, r.Policy())
}

// look observes the mesh but for who is lost, and counts what has failed so far. The run
// goes by what it has seen from then on.
func (r *Run) look(ctx context.Context, lost []string) (topology.Observation, error) {
	counting := r.countFailures(ctx, lost)
	obs := r.Engine.ObserveAll(ctx, lost...)
	counting()
	if err := ctx.Err(); err != nil {
		return obs, err
	}
	r.mu.Lock()
	r.obs = obs
	r.mu.Unlock()
	return obs, nil
}

// Plan makes a plan. Where it is to carry something, the tables are read first,
// and who is at it already: what cannot be decoded or applied is refused before
// anything is carried. A table that somebody has locked is waited for: not here, but as
// a refusal that passes by itself. Before the fences it delays nothing.
func Plan(ctx context.Context, e Engine, t planner.Trigger, obs topology.Observation, pol planner.Policy) (planner.Plan, *planner.Refusal, error) {
	p, refusal := planner.Make(t, obs, pol)
	unfinished := refusal != nil && refusal.Reason == planner.RecoveryUnfinished
	if len(p.Lanes) == 0 && !unfinished {
		return p, refusal, nil
	}
	seen, err := e.Inspect(ctx, obs, p.Node)
	if in := locked(err); in != nil && !p.Fenced && refusal == nil {
		p.Foreseen = in
		return p, nil, nil
	} else if in != nil {
		return planner.Plan{ID: p.ID, Kind: p.Kind, Cluster: p.Cluster, Node: p.Node, Incarnation: p.Incarnation}, in, nil
	}
	if err != nil {
		return p, nil, err
	}
	p, refusal = planner.Make(t, seen, pol)
	return p, refusal, nil
}

// locked is the refusal of a plan for which a table could not be read; nil when it is
// not that.
func locked(err error) *planner.Refusal {
	f, ok := errors.AsType[*topology.Fault](err)
	if !ok || f.Code != postgres.CodeLocked {
		return nil
	}
	return &planner.Refusal{Reason: planner.TableLocked, Node: f.Node, Why: f.Err.Error(), Remedy: f.Hint, Wait: true}
}

// Uncompared are the rows that this run, or an earlier one, has taken off to free workers,
// and that no comparison has looked at. The next run of the recovery is to have them, for
// no log tells of them; they are the caller's from then on.
func (r *Run) Uncompared() []*rescue.Touched {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.off
	r.off = nil
	return left
}

// Close ends every session that the run holds, and with them the locks.
func (r *Run) Close(ctx context.Context) error {
	r.mu.Lock()
	lanes, off := r.lanes, r.off
	r.lanes, r.off = map[string]*lane{}, nil
	r.mu.Unlock()
	var errs []error
	for _, t := range off {
		errs = append(errs, t.Close())
	}
	for _, l := range lanes {
		errs = append(errs, l.drop(ctx), l.touch(nil))
	}
	return errors.Join(append(errs, r.letGo(ctx))...)
}

// handler makes an executor.Handler of two functions.
type handler struct {
	check func(context.Context, planner.Plan, planner.Step) (bool, string, error)
	apply func(context.Context, planner.Plan, planner.Step) (executor.Result, error)
}

func (h handler) Check(ctx context.Context, p planner.Plan, s planner.Step) (bool, string, error) {
	return h.check(ctx, p, s)
}

func (h handler) Apply(ctx context.Context, p planner.Plan, s planner.Step) (executor.Result, error) {
	return h.apply(ctx, p, s)
}

// observe reads one node and turns silence into a transient fault.
func (r *Run) observe(ctx context.Context, node string) (topology.NodeState, error) {
	n := r.Engine.Observe(ctx, node)
	if err := ctx.Err(); err != nil {
		return n, err
	}
	if !n.Reachable {
		return n, &topology.Fault{
			Class: topology.Transient, Code: "node_unreachable", Node: node,
			Hint: "see that the server runs and accepts the agent's DSN", Err: errors.New(n.Problem),
		}
	}
	return n, nil
}

// reading returns the node's subscription to provider.
func reading(n topology.NodeState, provider string) (topology.Subscription, error) {
	sub, ok := n.From(provider)
	if !ok {
		return sub, &topology.Fault{
			Class: topology.Permanent, Code: "no_subscription", Node: n.Name,
			Hint: "healer status shows the subscriptions that are known",
			Err:  fmt.Errorf("%s has no subscription to %s", n.Name, provider),
		}
	}
	return sub, nil
}

// session opens a connection of its own to a node. The caller closes it.
func (r *Run) session(ctx context.Context, node string) (*pgconn.PgConn, error) {
	server, err := r.server(node)
	if err != nil {
		return nil, err
	}
	conn, err := server.Session(ctx)
	if err != nil {
		return nil, r.Wrap(node, err)
	}
	return conn, nil
}

func (r *Run) server(node string) (Server, error) {
	s, ok := r.Servers[node]
	if !ok {
		return nil, topology.Faultf(topology.Permanent, "node_unknown", "node %q is not in the cluster's file", node)
	}
	return s, nil
}
