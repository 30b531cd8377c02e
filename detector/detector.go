package detector

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Detector watches all nodes of the mesh from one agent. It is safe for
// concurrent use.
type Detector struct {
	opts Options
	log  *slog.Logger

	// mu guards judge. It is held for memory work only: never across a
	// probe, a send or a delivery.
	mu    sync.Mutex
	judge *Judge

	// loops are the probe loops by subject; made by Start.
	loops  map[string]*probeLoop
	asking asking

	// wake asks the loop to conclude at once, agents are those it found last.
	wake     chan struct{}
	agents   []string
	watchers watchers

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// New makes a Detector that does nothing until Start.
func New(opts Options) (*Detector, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.Timing = opts.Timing.withDefaults()
	// An agent that lives repeats its answer every interval; half as much again
	// is left for the way.
	opts.Rules.RefuteWithin = orDefault(opts.Rules.RefuteWithin, opts.Timing.ProbeInterval*3/2)
	// The loop below evaluates every interval; a loaded machine may be late for
	// one or two.
	opts.Rules.PauseAfter = orDefault(opts.Rules.PauseAfter, max(opts.Timing.ProbeInterval*3, 600*time.Millisecond))
	opts.Rules = opts.Rules.withDefaults()
	d := &Detector{
		opts: opts, log: opts.Log, wake: make(chan struct{}, 1), loops: map[string]*probeLoop{},
		judge: NewJudge(opts.Self, opts.Members, opts.Rules, opts.Prior, opts.Now()),
	}
	for _, m := range opts.Members {
		d.loops[m] = newProbeLoop(opts.Probers[m], opts.Timing, func(f Finding) { d.report(m, f) })
	}
	return d, nil
}

// probesAhead is how long before each refresh of what the others are told the probes
// are sent.
const probesAhead = 25 * time.Millisecond

// Start begins to gossip, probe and judge. It fails only when the gossip cannot
// listen. What it starts lives until Stop or Leave, not until ctx ends.
func (d *Detector) Start(ctx context.Context) error {
	if err := d.opts.Gossip.Start(ctx, inbox{d}); err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel = cancel
	// The answers of one round of probes are in before they are told to others.
	epoch := time.Now().Add(-probesAhead)
	for _, p := range d.loops {
		p.epoch = epoch
		d.done.Go(func() { p.run(run) })
	}
	d.done.Go(func() { d.loop(run) })
	return nil
}

// Stop ends the detector without a word about the node: the others see that
// the agent is gone and go on watching the node itself.
func (d *Detector) Stop(ctx context.Context) error { return d.stop(ctx, false) }

// Leave announces that the node is leaving as planned, then stops. Of a server that
// is gone already it says nothing: what became of that is the others' to find out.
func (d *Detector) Leave(ctx context.Context) error { return d.stop(ctx, true) }

func (d *Detector) stop(ctx context.Context, leave bool) error {
	if d.cancel == nil {
		return nil
	}
	d.cancel()
	d.done.Wait()
	var farewell []Evidence
	if leave {
		d.lastLook(ctx)
		// Only now: a report that followed the farewell would take it back.
		d.mu.Lock()
		farewell = d.judge.Farewell(d.opts.Now())
		d.mu.Unlock()
	}
	err := d.opts.Gossip.Stop(ctx, farewell)
	d.watchers.close()
	return err
}

// lastLook looks once more at the agent's own server: it may have died since the last
// probe, and a leave that is announced after that would hide it.
func (d *Detector) lastLook(ctx context.Context) {
	prober, ok := d.opts.Probers[d.opts.Self]
	if !ok {
		return // a witness
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timing.ProbeTimeout)
	defer cancel()
	session, err := prober.Connect(ctx, d.opts.Timing.firstDial(), func() {})
	closeSession(session)
	if err != nil && ctx.Err() == nil {
		d.report(d.opts.Self, findingOf(err))
	}
}

// Verdicts returns the present verdict of every node, sorted by name.
func (d *Detector) Verdicts() []Verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.judge.Verdicts()
}

// Watch returns a channel that first gives the present verdict of every node,
// and then each verdict that says something new. It never holds up the
// detector: for a reader that lags far behind, verdicts of a node that newer
// ones have overtaken are left out. It is closed when ctx ends or the detector
// stops.
func (d *Detector) Watch(ctx context.Context) <-chan Verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.watchers.add(ctx, d.judge.Verdicts())
}

// Agents returns the names of the members whose agents live, sorted.
func (d *Detector) Agents() []string { return d.opts.Gossip.Agents() }

// Admit takes a returning node back, once no fence of it remains anywhere. All
// agents learn of it. It returns false when the node is not returning here.
func (d *Detector) Admit(node string) bool {
	d.mu.Lock()
	ok := d.judge.Admit(node)
	d.mu.Unlock()
	d.poke()
	return ok
}

// report files the outcome of a probe.
func (d *Detector) report(subject string, f Finding) {
	d.mu.Lock()
	d.judge.Report(subject, f, d.opts.Now())
	news := d.judge.News()
	d.mu.Unlock()
	if news {
		d.poke()
	}
}

// poke wakes the loop; several pokes may become one.
func (d *Detector) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// loop concludes whenever something came in, and at least every interval:
// evidence expires and silence ripens without anything coming in.
func (d *Detector) loop(ctx context.Context) {
	refresh := time.NewTicker(d.opts.Timing.ProbeInterval)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
			d.conclude(ctx, false)
		case <-refresh.C:
			d.conclude(ctx, true)
		}
	}
}

// conclude sends what is new, or everything of our own when refresh is set, and
// hands out the verdicts that changed.
func (d *Detector) conclude(ctx context.Context, refresh bool) {
	agents := d.opts.Gossip.Agents()
	if !slices.Equal(agents, d.agents) && d.opts.OnAgents != nil {
		d.opts.OnAgents()
	}
	d.agents = agents
	var suspended map[string]Suspension
	if d.opts.Suspended != nil {
		suspended = d.opts.Suspended()
	}
	now := d.opts.Now()
	d.mu.Lock()
	d.judge.Agents(agents)
	d.judge.Suspend(suspended)
	changed := d.judge.Evaluate(now)
	urgent := d.judge.Urgent(now)
	doubts := d.judge.Doubts()
	var own []Evidence
	if refresh {
		own = d.judge.Own(now)
	}
	d.watchers.give(changed)
	d.mu.Unlock()

	if len(urgent) > 0 {
		d.opts.Gossip.Send(urgent, true)
	}
	if len(own) > 0 {
		d.opts.Gossip.Send(own, false)
	}
	for _, doubt := range doubts {
		d.ask(ctx, doubt)
	}
	for _, v := range changed {
		d.log.Info("verdict", "node", v.Node, "life", v.Life, "condition", v.Condition,
			"incarnation", v.Incarnation, "abstained", v.Abstained, "reason", v.Reason)
	}
}

// inbox is the side of the Detector that a Gossip sees.
type inbox struct{ d *Detector }

// Receive implements Inbox.
func (i inbox) Receive(from string, evidence []Evidence) {
	now := i.d.opts.Now()
	i.d.mu.Lock()
	i.d.judge.Heard(from, now)
	for _, e := range evidence {
		i.d.judge.Merge(e, now)
	}
	alarms, news := i.d.judge.Alarms(), i.d.judge.News()
	i.d.mu.Unlock()
	for _, subject := range alarms {
		i.d.loops[subject].nudge()
	}
	if news {
		i.d.poke()
	}
}

// State implements Inbox.
func (i inbox) State() []Evidence {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	return i.d.judge.State(i.d.opts.Now())
}

// AgentsChanged implements Inbox.
func (i inbox) AgentsChanged() { i.d.poke() }
