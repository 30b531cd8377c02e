package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"healer/api"
	"healer/config"
	"healer/control"
	"healer/detector"
	"healer/detector/gossip"
	"healer/events/natsbus"
	"healer/executor"
	"healer/internal/engines"
	"healer/internal/hooks"
	"healer/internal/steps"
	"healer/internal/supervisor"
	"healer/internal/tracing"
	"healer/keeper"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/rescue"
	"healer/topology"
)

// stopLimit bounds the end of each part.
const stopLimit = 5 * time.Second

// Options are what an agent is made of.
type Options struct {
	Config *config.Config
	// Node is the name of the node whose agent this is.
	Node string
	// Witness is set when the agent has no server: Node names a witness then.
	Witness bool
	// DataDir is the agent's own directory; it is made when missing.
	DataDir string
	// Version is shown in the status.
	Version string
	// Tracing is where the spans of recoveries go.
	Tracing tracing.Settings
	Log     *slog.Logger
}

// Agent is one running agent.
type Agent struct {
	cfg     *config.Config
	node    string
	self    config.Witness // where this agent listens
	witness bool
	version string
	log     *slog.Logger

	dir      *dataDir
	spill    string // for the touched keys of large gaps
	memory   *memory
	view     *view
	lags     *lags
	attempts *attempts
	presence *presence
	// left is for the next run of each recovery.
	left leftRows
	// rearmed asks the next pass to try again at once what has failed.
	rearmed atomic.Bool
	// active is the run under way.
	active active
	// wasLost are the nodes that the last pass found lost.
	wasLost []string
	// before is what the last pass saw.
	before topology.Observation
	// lostSince is when the passes first found each lost node lost.
	lostSince map[string]time.Time
	wake      chan struct{}
	// fatal has what makes it impossible to go on.
	fatal chan error

	servers  map[string]*postgres.Server
	sessions map[string]steps.Server
	engine   *engine.Engine
	broker   *natsbus.Server
	bus      *natsbus.Bus
	journal  *executor.Journal
	tracer   *tracing.Tracer
	book     *book
	gossip   *gossip.Gossip
	detector *detector.Detector
	control  *control.Store
	keeper   *keeper.Keeper
	hooks    *hooks.Hooks
	api      *api.Server
	tally    *api.Tally
	// certificates are what this agent shows; complete before the API serves.
	certificates []doorCertificate

	// closers end the parts in the order in which they are to be called: the
	// reverse of that in which they were opened.
	closers []closer
	loops   sync.WaitGroup
}

// closer ends one part.
type closer struct {
	part string
	end  func(context.Context) error
}

// Run opens an agent, runs it until ctx ends, and closes it. An error says what
// kept it from starting; once it runs, trouble is a state and not an error.
func Run(ctx context.Context, o Options) error {
	a, err := open(ctx, o)
	if err != nil {
		return err
	}
	if a.capped() {
		a.log.Warn("plans are shown and not run", "why", cappedText, "remedy", "add a witness to the cluster file")
	}
	a.log.Info("agent is running", "witness", a.witness, "cluster", a.cfg.Cluster, "mode", a.cfg.Mode, "api", a.api.Addr(), "version", a.version)
	end := a.supervised(ctx)
	select {
	case <-ctx.Done():
	case err = <-a.fatal:
	}
	end()
	return errors.Join(err, a.close())
}

// supervised tells the service manager that the agent runs, until end is called. The
// agent lives while its detector does, which everything else waits for.
func (a *Agent) supervised(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var told sync.WaitGroup
	told.Go(func() { supervisor.Watched(ctx, a.log, func() { a.detector.Verdicts() }) })
	return func() {
		cancel()
		told.Wait()
	}
}

// open opens every part. What was opened is closed again when a later part
// cannot be.
func open(ctx context.Context, o Options) (_ *Agent, err error) {
	self, err := member(o)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: o.Config, node: o.Node, self: self, witness: o.Witness, version: o.Version, log: o.Log.With("agent", o.Node),
		view: newView(), lags: newLags(), book: newBook(), attempts: newAttempts(time.Now), presence: newPresence(), left: leftRows{}, tally: api.NewTally(),
		wake: make(chan struct{}, 1), fatal: make(chan error, 1),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	for _, part := range []func(context.Context, Options) error{
		a.openDir, a.openControl, a.openServers, a.openEvents, a.openHooks, a.openDetector, a.openAPI, a.startLoops,
	} {
		if err := part(ctx, o); err != nil {
			return a, err
		}
	}
	return a, nil
}

// onClose adds a part to be ended, before those that were opened earlier.
func (a *Agent) onClose(part string, end func(context.Context) error) {
	a.closers = append([]closer{{part, end}}, a.closers...)
}

// close ends every part within its limit.
func (a *Agent) close() error {
	var errs []error
	for _, c := range a.closers {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		began := time.Now()
		err := c.end(ctx)
		a.log.Debug("part has stopped", "part", c.part, "took", time.Since(began))
		if err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.part, err))
		}
		cancel()
	}
	a.closers = nil
	return errors.Join(errs...)
}

func (a *Agent) openDir(ctx context.Context, o Options) (err error) {
	if a.dir, err = openDataDir(o.DataDir, a.cfg.Cluster, a.node); err != nil {
		return err
	}
	a.onClose("data directory", func(context.Context) error { a.dir.close(); return nil })
	if a.memory, err = openMemory(a.dir.file("memory.json"), a.log); err != nil {
		return err
	}
	a.onClose("memory", func(context.Context) error { a.memory.save(); return nil })
	if a.spill, err = a.dir.sub("spill"); err != nil {
		return err
	}
	if err := rescue.RemoveSpilled(a.spill); err != nil {
		return dirFault("data_dir", "make the data directory writable for this user", err)
	}
	journal, err := a.dir.sub("journal")
	if err != nil {
		return err
	}
	if a.journal, err = executor.OpenJournal(journal, 0, 0); err != nil {
		return dirFault("journal", "make the data directory writable for this user", err)
	}
	a.onClose("journal", func(context.Context) error { return a.journal.Close() })
	a.recall()
	a.tracer = tracing.Start(ctx, tracing.Options{Settings: o.Tracing, Cluster: a.cfg.Cluster, Version: a.version, Log: a.log})
	a.onClose("tracing", a.tracer.Stop)
	return nil
}

// recall shows the latest recovery this agent ran in an earlier life.
func (a *Agent) recall() {
	runs, err := a.journal.History()
	if err != nil {
		a.log.Warn("the journal cannot be read whole", "error", err)
	}
	for _, run := range runs {
		if r, ok := recoveryOf(run.Plan, outcomeOf(run)); ok {
			a.view.ended(r)
		}
	}
}

func (a *Agent) openServers(context.Context, Options) error {
	a.servers = map[string]*postgres.Server{}
	a.sessions = map[string]steps.Server{}
	a.onClose("connections", func(context.Context) error {
		for _, s := range a.servers {
			s.Close()
		}
		return nil
	})
	for _, n := range a.cfg.Nodes {
		s, err := postgres.Open(n.Name, n.DSN)
		if err != nil {
			return err
		}
		a.servers[n.Name], a.sessions[n.Name] = s, s
	}
	a.engine = engines.New(a.cfg.Engine, engine.Options{
		Cluster: a.cfg.Cluster, Servers: a.servers, Providers: a.memory.providers(), Feeds: a.memory.feeds(), Log: a.log,
	})
	a.onClose("engine", func(context.Context) error { a.engine.Close(); return nil })
	return nil
}

// startLoops starts what acts: the keeper, and the reconcile loop.
func (a *Agent) startLoops(ctx context.Context, _ Options) error {
	if err := a.startKeeper(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	a.onClose("loops", func(context.Context) error {
		cancel()
		a.loops.Wait()
		return nil
	})
	a.loops.Go(func() { a.reconcile(ctx) })
	a.loops.Go(func() { a.look(ctx) })
	a.loops.Go(func() { a.watch(ctx) })
	if a.keeper != nil {
		a.loops.Go(func() { a.keepPublications(ctx) })
	}
	a.loops.Go(func() { a.steer(ctx) })
	a.loops.Go(func() { a.follow(ctx) })
	return nil
}

// startKeeper starts the keeper of this node's recovery slots, unless Healer is
// to observe only: then nothing is made on any server. A witness has no node.
func (a *Agent) startKeeper(ctx context.Context) (err error) {
	if a.cfg.Mode == config.ModeObserve || a.witness {
		return nil
	}
	var peers []string
	for _, n := range a.cfg.Names() {
		if n != a.node {
			peers = append(peers, n)
		}
	}
	a.keeper, err = keeper.New(keeper.Options{
		Node: a.node, Peers: peers, Store: keeperStore{engine: a.engine, node: a.node, ends: a.memory.ends},
		Interval: a.cfg.Keeper.Interval, Limits: keeper.Limits{WarnBytes: a.cfg.Slots.WarnBytes},
		OnEvent: a.slotEvent, Log: a.log.With("component", "keeper"),
	})
	if err != nil {
		return err
	}
	a.keeper.Start(ctx)
	a.onClose("keeper", func(context.Context) error { a.keeper.Stop(); return nil })
	return nil
}

// safePoint asks the keeper, who knows the history of this node only.
func (a *Agent) safePoint(source, origin string, from topology.LSN) (topology.LSN, bool) {
	if source != a.node || a.keeper == nil {
		return 0, false
	}
	return a.keeper.Newest(origin, from)
}

// lost is what the detector judges lost now.
func (a *Agent) lost() []string {
	return situation{verdicts: a.detector.Verdicts(), obs: a.view.observation()}.lost()
}
