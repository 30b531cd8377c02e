package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"healer/api"
	"healer/executor"
	"healer/internal/steps"
	"healer/planner"
	"healer/postgres"
	"healer/rescue"
	"healer/topology"
)

// idle is the pause between two passes when nothing happens: the bound on how
// long a change goes unnoticed that no verdict announces.
const idle = time.Second

// closeLimit bounds the end of a run's sessions.
const closeLimit = 5 * time.Second

// reconcile runs pass after pass until ctx ends. A change of verdict begins the
// next one at once.
func (a *Agent) reconcile(ctx context.Context) {
	tick := time.NewTicker(idle)
	defer tick.Stop()
	for {
		a.pass(ctx)
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-tick.C:
		}
	}
}

// poke begins the next pass soon; many pokes make one pass.
func (a *Agent) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// pass observes, decides and acts once.
func (a *Agent) pass(ctx context.Context) {
	s := a.situation(ctx)
	if ctx.Err() != nil {
		return
	}
	a.presence.note(s, a.memory, time.Now())
	a.memory.suspect(s)
	a.learn(s)
	// A node that has come back may hold what a recovery failed for.
	if lost := s.lost(); !slices.Equal(lost, a.wasLost) {
		a.wasLost = lost
		a.attempts.forget()
	}
	for _, node := range s.admissible(a.memory.node) {
		if a.detector.Admit(node) {
			a.log.Info("node is admitted: nothing fences it off", "node", node)
		}
	}
	a.guard(ctx, s)
	if a.rearmed.Swap(false) {
		a.attempts.forget()
	}
	triggers := s.triggers(a.memory.node)
	a.view.keepRefusals(a.cfg.Cluster, triggers)
	if !s.coordinates(a.memory.node) {
		a.standBy(triggers, s.obs)
		return
	}
	a.closeCancellations(s)
	for _, t := range triggers {
		if ctx.Err() == nil {
			a.handle(ctx, a.presence.complete(t, a.memory, a.cfg.Recovery.HoldDown, time.Now()), s.obs)
		}
	}
}

// standBy notes what stands in the way as this agent sees it, which another acts on:
// whoever asks any agent is to be told, with NATS or without.
func (a *Agent) standBy(triggers []planner.Trigger, obs topology.Observation) {
	now := time.Now()
	for _, t := range triggers {
		t = a.presence.complete(t, a.memory, a.cfg.Recovery.HoldDown, now)
		p, refusal := a.foresee(t, obs)
		if refusal != nil && refusal.Reason == planner.RecoveryUnfinished {
			t.Kind = planner.Recovery
			p, refusal = a.foresee(t, obs)
		}
		a.view.stand(p, refusal, now)
	}
}

// look keeps the view fresh while a pass is busy with a run, and with it what
// the engine knows of subscriptions that it has not met before.
func (a *Agent) look(ctx context.Context) {
	tick := time.NewTicker(idle)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if time.Since(a.view.observedAt()) >= idle/2 {
				a.observe(ctx)
			}
		}
	}
}

// situation observes the mesh. The verdicts are read after it: a plan must not
// rest on a life that ended while the servers were read.
func (a *Agent) situation(ctx context.Context) situation {
	obs := a.observe(ctx)
	return situation{self: a.node, agents: a.healers(), verdicts: a.detector.Verdicts(), obs: obs, at: time.Now()}
}

// handle plans for one trigger and runs the plan.
func (a *Agent) handle(ctx context.Context, t planner.Trigger, obs topology.Observation) {
	pol := a.policyFor(t.Node, obs)
	t.Next = a.next()
	left := ""
	if pol.Cancelled {
		var done bool
		if left, done = a.windDown(ctx, t, obs); !done {
			a.poke() // what follows is planned from what is so then
			return
		}
	}
	plan, refusal, err := a.plan(ctx, t, obs, pol)
	if refusal != nil && refusal.Reason == planner.RecoveryUnfinished {
		// The node is back before its recovery was complete. The recovery
		// comes first, and is planned although the node is alive.
		a.refuse(plan, refusal)
		t.Kind = planner.Recovery
		plan, refusal, err = a.plan(ctx, t, obs, pol)
	}
	if err != nil {
		a.log.Warn("cannot plan", "kind", t.Kind, "node", t.Node, "error", err)
		return
	}
	if refusal != nil && refusal.Reason == planner.WasCancelled && left != "" {
		refusal.Why += ": " + left
	}
	a.refuse(plan, refusal)
	if !a.bar(ctx, t, plan, refusal, obs) {
		return // before anybody is fenced off all have to know why
	}
	if refusal != nil || plan.Empty() || !a.attempts.due(plan.ID) {
		return
	}
	a.run(ctx, t, plan)
}

// refuse notes the standing refusal and publishes a new one.
func (a *Agent) refuse(p planner.Plan, r *planner.Refusal) {
	if !a.view.refuse(p, r, time.Now()) {
		return
	}
	if r.Reason == planner.ModeAdvises {
		e, err := executor.Advised(a.node, time.Now(), p)
		a.publish(e, err)
	}
	a.log.Warn("refused", "plan", p.Kind, "node", p.Node, "reason", r.Reason, "why", r.Why, "remedy", r.Remedy, "wait", r.Wait)
	e, err := executor.Refused(a.node, time.Now(), p, r)
	a.publish(e, err)
}

// run carries a plan out.
func (a *Agent) run(ctx context.Context, t planner.Trigger, p planner.Plan) {
	log := a.log.With("recovery", p.ID)
	r := steps.New(steps.Options{
		Engine: a.engine, Servers: a.sessions, Wrap: postgres.Wrap, SafePoint: a.safePoint,
		Trigger: func() planner.Trigger {
			now := t
			now.Lost = a.lost()
			now.Next = a.next()
			return now
		},
		Policy: func() planner.Policy { return a.begunPolicy(p) }, DrainLimit: a.cfg.Recovery.DrainTimeout, SpillDir: a.spill,
		Conflicts: rescue.Resolution(a.cfg.Recovery.Conflicts), Earlier: a.left.take(p), Log: log,
	})
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer cancel()
		if err := r.Close(closing); err != nil {
			log.Debug("a session of the run did not end cleanly", "error", err)
		}
	}()
	exec, err := executor.New(executor.Config{
		Agent: a.node, Handlers: r.Handlers(), Replanner: r, Publisher: a.told(),
		Journal: executor.Recorders{executor.Told{Local: a.journal, Publisher: a.bus, Cluster: a.cfg.Cluster}, a.tracer},
		Logger:  a.log, Deadlines: steps.Deadlines(a.cfg.Recovery), Lost: a.lost, Failpoint: failpoint(),
	})
	if err != nil {
		log.Error("cannot run the plan", "error", err)
		return
	}
	a.view.running(&api.Recovery{
		ID: p.ID, Kind: string(p.Kind), Node: p.Node, State: api.RecoveryRunning, Source: p.Source, Started: time.Now(),
	})
	ctx, stop := a.active.begin(ctx, p)
	defer stop()
	if a.cancelled(p.Node) { // just before the run could be seen
		a.active.cancel(p.Node)
	}
	watching := a.watchLocks(ctx, p)
	out := exec.Run(ctx, p)
	watching()
	a.left.keep(p, out, r.Uncompared)
	a.view.running(nil)
	a.concluded(p, out)
}

// watchLocks shows, until the returned function is called, whose lock a run waits for.
func (a *Agent) watchLocks(ctx context.Context, p planner.Plan) (end func()) {
	var servers []steps.Waiter
	for _, n := range p.Survivors {
		servers = append(servers, a.servers[n])
	}
	if p.Kind == planner.Rejoin {
		servers = append(servers, a.servers[p.Node])
	}
	return steps.WatchLocks(ctx, servers, func(r *planner.Refusal) { a.refuse(p, r) })
}

// concluded remembers how a run went and when to try again.
func (a *Agent) concluded(p planner.Plan, out executor.Outcome) {
	switch out.State {
	case executor.Verified, executor.Rejoined, executor.Nothing:
		a.attempts.succeeded(p.ID)
		if len(out.Plan.Unsettled) > 0 {
			a.attempts.failed(p.ID, true) // it is not over: another recovery comes first
		}
		a.poke()
	case executor.Failed:
		a.attempts.failed(p.ID, out.Replan)
	case executor.Yielded:
		a.attempts.failed(p.ID, true)
	case executor.Cancelled:
	}
	if r, ok := recoveryOf(p, out); ok {
		a.view.ended(r)
	}
}

// recoveryOf is a run's outcome as the status shows it. A run that yielded is
// another agent's to show.
func recoveryOf(p planner.Plan, out executor.Outcome) (api.Recovery, bool) {
	states := map[executor.State]string{
		executor.Verified: api.RecoveryVerified, executor.Rejoined: api.RecoveryVerified,
		executor.Failed: api.RecoveryFailed, executor.Cancelled: api.RecoveryCancelled,
	}
	state, ok := states[out.State]
	if !ok {
		return api.Recovery{}, false
	}
	r := api.Recovery{
		ID: p.ID, Kind: string(p.Kind), Node: p.Node, State: state, Source: out.Plan.Source,
		Started: out.Started, Duration: api.Duration(out.Duration),
	}
	if p.Kind == planner.Recovery {
		r.Unsent = out.Plan.Unsent
	}
	met := executor.Conflicts(out.Steps)
	r.Conflicts, r.ConflictCounts = met.Total(), met.Counts
	for _, s := range out.Steps {
		r.Transactions += s.Figures[executor.FigureMissing]
		r.Applied += s.Figures[executor.FigureTransactions]
		r.Repaired += s.Figures[executor.FigureRepaired]
	}
	if out.Err != nil {
		r.Error = out.Err.Error()
		var f *topology.Fault
		if errors.As(out.Err, &f) {
			r.Hint = f.Hint
		}
	}
	return r, true
}
