package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/chaos/check"
	"healer/chaos/history"
	"healer/chaos/scenario"
	"healer/chaos/snapshot"
	"healer/chaos/workload"
	"healer/events"
	"healer/internal/chaoslab"
	"healer/internal/localpg"
)

// Outcome is what a run came to.
type Outcome struct {
	Run        check.Run
	Violations []check.Violation
	// Skipped are faults that were not made, with the reason: the event they waited
	// for did not come, or another fault had what they need.
	Skipped []string
	// Healings tell of every loss of a node; RTO is the longest time from a loss to
	// its verified recovery, in milliseconds.
	Healings []check.Healing
	RTO      float64
}

// Limits bound a run.
type Limits struct {
	// Settle is how long the cluster may take to be healthy, before and after.
	Settle time.Duration
	// Vain is how long faults that wait for an event wait after all others ended.
	Vain time.Duration
	// Patience is as in check.Run.
	Patience time.Duration
}

// DefaultLimits are for a small machine that is busy.
func DefaultLimits() Limits {
	return Limits{Settle: 90 * time.Second, Vain: 3 * time.Second, Patience: 20 * time.Second}
}

// errNotReady is a cluster that was not healthy before a run: nothing was tried.
var errNotReady = errors.New("the cluster is not ready for a run")

// Run runs a scenario on a lab. An error is one of the harness, as a fault that could
// not be made; what Healer did wrong is in the violations. log gets what happens.
func Run(ctx context.Context, l *chaoslab.Lab, s *scenario.Scenario, lim Limits, log func(string, ...any)) (Outcome, error) {
	r := &run{lab: l, s: s, lim: lim, log: log, hub: newHub()}
	err := r.run(ctx)
	return r.out, err
}

// run is a run under way.
type run struct {
	lab  *chaoslab.Lab
	s    *scenario.Scenario
	lim  Limits
	log  func(string, ...any)
	hub  *hub
	past map[string]bool // events of earlier runs
	line *timeline
	work *workload.Workload
	out  Outcome
}

func (r *run) run(ctx context.Context) (err error) {
	if err := r.prepare(ctx); err != nil {
		return fmt.Errorf("%w: %w", errNotReady, err)
	}
	stop, err := r.lab.Follow(">", r.hub.hear)
	if err != nil {
		return err
	}
	defer stop()
	r.out.Run = check.Run{Start: time.Now(), Nodes: r.lab.Names(), Lost: r.s.Expect.Lost, Patience: r.lim.Patience}
	if err := r.write(ctx); err != nil {
		return err
	}
	r.line = newTimeline(r.lab, r.out.Run.Start, r.hub, r.log)
	defer func() { err = errors.Join(err, r.end(context.WithoutCancel(ctx))) }()
	r.line.run(ctx, r.s.Schedule, r.lim.Vain)
	if !pause(ctx, time.Until(r.out.Run.Start.Add(r.s.Length))) {
		return context.Cause(ctx)
	}
	if r.out.Skipped, _ = r.line.notMade(); len(r.out.Skipped) > 0 {
		r.log("not made: %s", strings.Join(r.out.Skipped, "; "))
	}
	_, troubles := r.line.notMade()
	if err := errors.Join(append(troubles, r.line.heal(ctx, r.s.Expect.Lost...))...); err != nil {
		return err
	}
	return r.judge(ctx)
}

// prepare waits for a healthy cluster and empties the tables.
func (r *run) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.lim.Settle)
	defer cancel()
	if err := chaoslab.Await(ctx, r.lab.Healthy); err != nil {
		return err
	}
	mesh := r.lab.Mesh()
	if err := mesh.Exec(ctx, mesh.Names()[0], "truncate "+strings.Join(workload.Tables(mesh.Names()...), ", ")); err != nil {
		return err
	}
	if err := mesh.WaitCaughtUp(ctx); err != nil {
		return err
	}
	past, err := r.lab.Past(ctx)
	r.past = map[string]bool{}
	for _, e := range past {
		r.past[e.ID] = true
	}
	return err
}

// write starts the clients.
func (r *run) write(ctx context.Context) (err error) {
	w := r.s.Workload
	if w.None {
		return nil
	}
	o := workload.Options{
		Clients: w.Clients, Pace: w.Pace, LargeRows: w.LargeRows, Rates: w.Rates, Seed: r.s.Seed, Start: r.out.Run.Start,
	}
	for _, s := range r.lab.Mesh().Nodes() {
		o.Nodes = append(o.Nodes, workload.Node{Name: s.Name(), On: s})
	}
	r.work, err = workload.Start(context.WithoutCancel(ctx), o)
	return err
}

// stopWriting ends the clients; it may be called again.
func (r *run) stopWriting(ctx context.Context) {
	if r.work == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.lim.Settle)
	defer cancel()
	got := r.work.Stop(ctx)
	r.out.Run.Transactions, r.out.Run.Samples = got.Transactions, got.Samples
	r.work = nil
}

// end heals everything, also after a run that broke off.
func (r *run) end(ctx context.Context) error {
	r.stopWriting(ctx)
	return r.line.heal(ctx)
}

// lingers is how long what an agent is about to end may still be there: a lock that it
// holds for a moment is no leak.
const lingers = 5 * time.Second

// judge waits until the cluster is at rest, reads everything, and has it judged.
func (r *run) judge(ctx context.Context) error {
	r.stopWriting(ctx)
	if err := r.settled(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.violate("settled", "%s after the last fault had ended: %v", r.lim.Settle, err)
	}
	x := &r.out.Run
	var found []check.Violation
	for begin := time.Now(); ; {
		err := r.read(ctx)
		// What is kept of a run that cannot be judged tells of its faults all the same.
		x.Length, x.Faults = time.Since(x.Start), r.line.faults()
		if err != nil {
			r.violate("settled", "what the cluster has cannot be read: %v", err)
			return nil
		}
		found = check.Check(*x)
		passing := slices.ContainsFunc(found, func(v check.Violation) bool { return v.Checker == "leaks" })
		if !passing || time.Since(begin) > lingers || !pause(ctx, lingers/10) {
			break
		}
	}
	r.out.Violations = append(r.out.Violations, found...)
	r.out.Healings, r.out.RTO = check.Healings(*x), check.RTO(*x)
	r.expect()
	return nil
}

func (r *run) violate(checker, format string, args ...any) {
	r.out.Violations = append(r.out.Violations, check.Violation{Checker: checker, Detail: fmt.Sprintf(format, args...)})
}

// survivors are the nodes that are there at the end.
func (r *run) survivors() []string {
	return slices.DeleteFunc(r.lab.Names(), func(n string) bool { return slices.Contains(r.s.Expect.Lost, n) })
}

// settled waits until nothing more is to come. What is expected and does not come is
// found when the events are judged.
func (r *run) settled(ctx context.Context) error {
	rest, cancel := context.WithTimeout(ctx, r.lim.Settle)
	defer cancel()
	at := r.lab.Healthy
	if len(r.s.Expect.Lost) > 0 {
		at = r.concluded
	}
	if err := chaoslab.Await(rest, at); err != nil {
		return err
	}
	// Agents call the cluster healthy, and refuse, before they are heard to tell of it.
	expected, cancel := context.WithTimeout(ctx, r.lim.Settle)
	defer cancel()
	r.hub.awaitAll(expected, r.s.Expect)
	equal, cancel := context.WithTimeout(ctx, r.lim.Settle)
	defer cancel()
	return r.lab.Mesh().WaitCaughtUp(equal, r.survivors()...)
}

// concluded: what is to stay lost was recovered from or refused.
func (r *run) concluded(context.Context) error {
	for _, n := range r.s.Expect.Lost {
		if !slices.ContainsFunc(r.hub.heard(), func(e events.Event) bool {
			return e.Subject == n && (e.Kind() == events.RecoveryVerified || e.Kind() == events.RecoveryRefused)
		}) {
			return fmt.Errorf("the loss of %s was neither recovered from nor refused", n)
		}
	}
	return nil
}

// read reads servers and events: the events also when a server cannot be read.
func (r *run) read(ctx context.Context) error {
	return errors.Join(r.servers(ctx), r.events(ctx))
}

func (r *run) servers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.lim.Settle)
	defer cancel()
	all := r.lab.Names()
	reader := snapshot.Reader{Nodes: all, Namespace: workload.Namespace, Provider: func(node, subscription string) string {
		for _, n := range all {
			if subscription == localpg.SubscriptionName(node, n) {
				return n
			}
		}
		return ""
	}}
	r.out.Run.Servers = nil
	for _, n := range r.survivors() {
		s, err := r.server(ctx, reader, n)
		if err != nil {
			return err
		}
		r.out.Run.Servers = append(r.out.Run.Servers, s)
	}
	return nil
}

// events reads the stream once it has all that was heard: what is told is heard a moment
// before the stream has it.
func (r *run) events(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.lim.Settle)
	defer cancel()
	var told []events.Event
	read := false
	err := chaoslab.Await(ctx, func(ctx context.Context) error {
		all, err := r.lab.Past(ctx)
		if err != nil {
			return err
		}
		told, read = all, true
		return r.hub.ahead(all)
	})
	r.out.Run.Events = nil
	for _, e := range told {
		if !r.past[e.ID] {
			r.out.Run.Events = append(r.out.Run.Events, e)
		}
	}
	if read && err != nil {
		r.log("judged all the same: %v", err)
		return nil
	}
	return err
}

func (r *run) server(ctx context.Context, reader snapshot.Reader, node string) (history.Server, error) {
	conn, err := r.lab.Mesh().Node(node).Connect(ctx)
	if err != nil {
		return history.Server{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return reader.Server(ctx, node, conn)
}

// expect judges what the scenario itself says.
func (r *run) expect() {
	x := r.s.Expect
	for _, what := range append(x.Missing(r.out.Run.Events), x.Unwanted(r.out.Run.Events)...) {
		r.violate("expect", "%s", what)
	}
	if x.RTO > 0 && r.out.RTO > float64(x.RTO.Milliseconds()) {
		r.violate("expect", "a recovery took %.0f ms, more than %s", r.out.RTO, x.RTO)
	}
}
