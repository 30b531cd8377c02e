package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"healer/events"
	"healer/events/natsbus"
	"healer/internal/demo/show"
	"healer/internal/demo/workload"
	"healer/internal/localagent"
	"healer/internal/localpg"
)

// clusterName is the name of the demo's cluster in events and subjects.
const clusterName = "demo"

// ErrInterrupted is the error of a run that was told to end.
var ErrInterrupted = errors.New("interrupted")

// ErrNotConverged is the error of a run that found nodes which differ.
var ErrNotConverged = errors.New("the nodes are not equal")

// run is one run of the demo.
type run struct {
	opts  Options
	begin time.Time
	view  show.Presenter

	dir     string
	file    string
	addrs   map[string]localagent.Address
	mesh    *localpg.Mesh
	agents  map[string]*localagent.Agent
	work    *workload.Workload
	watch   *watcher
	events  *natsbus.Client
	killed  time.Time
	burst   workload.Burst
	atKill  []workload.Stats
	report  Report
	cleanup []func()

	mu    sync.Mutex
	lives map[string]show.Life
}

// Run runs the demo, shows it, and ends everything that it started. The error is
// nil only when every row of every table is equal on every node. A signal to
// end, or the end of ctx, ends it at any moment.
func Run(ctx context.Context, o Options, io IO) (Report, error) {
	if err := o.check(); err != nil {
		return newReport(o), err
	}
	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopSignals := onSignal(func() { cancel(ErrInterrupted) })
	defer stopSignals()

	r := &run{
		opts: o, begin: time.Now(), report: newReport(o), watch: newWatcher(),
		agents: map[string]*localagent.Agent{}, addrs: map[string]localagent.Address{}, lives: map[string]show.Life{},
	}
	r.view = r.presenter(io, func() { cancel(ErrInterrupted) })
	defer r.end()
	err := r.story(ctx)
	if err != nil && (caller.Err() != nil || errors.Is(context.Cause(ctx), ErrInterrupted)) {
		err = ErrInterrupted
	}
	r.conclude(err)
	return r.report, errors.Join(err, r.hand(ctx, io, err))
}

// onSignal calls f at each signal to end, until the result is called.
func onSignal(f func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-signals:
				f()
			case <-quit:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(quit)
		done.Wait()
	}
}

// presenter chooses how the run is shown: never on standard output when that is
// to carry the JSON.
func (r *run) presenter(io IO, interrupt func()) show.Presenter {
	switch {
	case r.opts.JSON:
		return show.NewPlain(io.Err)
	case io.Live:
		return show.NewLive(show.LiveOptions{
			In: io.In, Out: io.Out, Title: r.title(), Nodes: r.opts.names(), Start: r.begin, Interrupt: interrupt,
		})
	default:
		return show.NewPlain(io.Out)
	}
}

func (r *run) title() string {
	version := ""
	if inst, err := localpg.Find(r.opts.Major); err == nil {
		version = " " + inst.Version
	}
	return fmt.Sprintf("heals the loss of %s · PostgreSQL%s · %d nodes", r.opts.Kill, version, r.opts.Nodes)
}

// conclude completes the report and shows it.
func (r *run) conclude(err error) {
	r.report.Events = r.watch.count()
	r.report.TookMS = milliseconds(time.Since(r.begin))
	if r.work != nil {
		for _, s := range r.work.Stats() {
			r.report.Written[s.Node] = s.Transactions
		}
	}
	if err != nil && !errors.Is(err, ErrNotConverged) {
		r.report.Error = err.Error()
	}
	r.view.Show(show.Result{At: r.now(), Good: err == nil, Lines: r.report.lines()})
}

// hand gives the terminal back, writes the JSON, and keeps the cluster when that
// was asked for.
func (r *run) hand(ctx context.Context, io IO, failed error) error {
	err := r.view.Close()
	if r.opts.JSON {
		err = errors.Join(err, r.report.writeJSON(io.Out))
	}
	if !r.opts.Keep || r.mesh == nil || ctx.Err() != nil {
		if failed != nil && !errors.Is(failed, ErrInterrupted) {
			r.showLogs(io)
		}
		return err
	}
	out := io.Out
	if r.opts.JSON {
		out = io.Err
	}
	for _, l := range r.howToReach() {
		fmt.Fprintln(out, l)
	}
	<-ctx.Done()
	return err
}

// showLogs shows why it may have failed: the agents' logs are about to go.
func (r *run) showLogs(io IO) {
	for _, n := range r.opts.names() {
		if a := r.agents[n]; a != nil {
			fmt.Fprintf(io.Err, "--- the end of the log of %s's agent ---\n%s\n", n, a.Tail(15))
		}
	}
}

// howToReach says how to look at the cluster that was kept.
func (r *run) howToReach() []string {
	program, err := r.program()
	if err != nil {
		program = "healer"
	}
	lines := []string{"", "the cluster runs on; Ctrl-C ends it and removes " + r.dir}
	for _, n := range r.opts.names() {
		a := r.addrs[n]
		lines = append(lines, fmt.Sprintf("  %s  psql %q   http://%s/   log %s", n, a.DSN, a.API, r.agents[n].Log()))
	}
	return append(lines, "  "+program+" status --config "+r.file)
}

// onEnd remembers what ends something that was started.
func (r *run) onEnd(f func()) { r.cleanup = append(r.cleanup, f) }

// end ends everything in the opposite order, also in a panic.
func (r *run) end() {
	for len(r.cleanup) > 0 {
		last := r.cleanup[len(r.cleanup)-1]
		r.cleanup = r.cleanup[:len(r.cleanup)-1]
		last()
	}
	_ = r.view.Close()
}

func (r *run) now() show.Stamp { return show.Stamp(time.Since(r.begin)) }

func (r *run) note(format string, args ...any) {
	r.view.Show(show.Note{At: r.now(), Text: fmt.Sprintf(format, args...)})
}

// life changes what is known of a node and shows it when it is news.
func (r *run) life(node string, change func(*show.Life)) {
	r.mu.Lock()
	l := r.lives[node]
	was := l
	l.Node = node
	change(&l)
	r.lives[node] = l
	r.mu.Unlock()
	if l != was {
		l.At = r.now()
		r.view.Show(l)
	}
}

// saw is called with every event that comes over NATS.
func (r *run) saw(e events.Event) {
	if r.opts.told != nil {
		r.opts.told(e)
	}
	r.watch.arrived(e)
	r.view.Show(show.Happened{At: r.now(), Event: e})
	verdict, ok := map[events.Kind]string{
		events.NodeSuspected: "suspected", events.NodeRefuted: "alive", events.NodeFailed: "failed",
		events.NodeReturned: "returned", events.NodeRejoined: "rejoined",
	}[e.Kind()]
	if ok {
		r.life(e.Subject, func(l *show.Life) { l.Verdict = verdict })
	}
}

func (r *run) program() (string, error) {
	if r.opts.Program != "" {
		return r.opts.Program, nil
	}
	return os.Executable()
}
