package steps

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"healer/planner"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/rescue"
	"healer/topology"
)

// lookLimit bounds one look at a survivor: one that does not answer is not waited for.
const lookLimit = 3 * time.Second

// nextLimit bounds how long the log is read for what a worker fails at.
const nextLimit = 20 * time.Second

// freer looks whether apply workers fail while somebody waits for the survivors. It is for
// one wait. When workers of any survivor have failed again since the last look, touched
// rows may be in their way, and those are taken off. When there are none, what the workers
// fail at is read from their slots. What cannot be looked at is looked at the next time.
// In a rejoin nobody is lost, and unless a comparison is owed nobody compares rows behind it:
// what would need that stays.
type freer struct {
	r    *Run
	plan planner.Plan
	// failures are those of each worker at the last look, first of all of the run's: a
	// worker that has failed before the wait began may rest for seconds.
	failures map[worker]int64
}

// worker is the apply worker of a node's subscription.
type worker struct{ node, subscription string }

func (w worker) compare(x worker) int {
	return cmp.Or(strings.Compare(w.node, x.node), strings.Compare(w.subscription, x.subscription))
}

func (r *Run) freer(p planner.Plan) *freer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &freer{r: r, plan: p, failures: maps.Clone(r.failures)}
}

// countFailures has the freers of the run begin with what has failed so far. It is done
// when the returned function has been called, which does not wait for who is silent.
func (r *Run) countFailures(ctx context.Context, lost []string) (done func()) {
	nodes := slices.DeleteFunc(slices.Sorted(maps.Keys(r.Servers)), func(n string) bool { return slices.Contains(lost, n) })
	ctx, end := context.WithCancelCause(ctx)
	var counting sync.WaitGroup
	counting.Go(func() {
		for w, n := range r.applyFailures(ctx, nodes) {
			r.failed(w, n)
		}
	})
	return func() {
		end(postgres.ErrUnwanted)
		counting.Wait()
	}
}

// failed remembers how often a worker has failed.
func (r *Run) failed(w worker, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[w] = n
}

// applyFailures is how often each worker has failed, of the nodes that answer.
func (r *Run) applyFailures(ctx context.Context, nodes []string) map[worker]int64 {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	out := map[worker]int64{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, node := range nodes {
		asking.Go(func() {
			server, err := r.server(node)
			if err != nil {
				return
			}
			counts, _ := server.ApplyFailures(ctx) // who does not answer is asked again
			mu.Lock()
			defer mu.Unlock()
			for subscription, n := range counts {
				out[worker{node, subscription}] = n
			}
		})
	}
	asking.Wait()
	return out
}

// look returns how many rows it has tried to take off.
func (f *freer) look(ctx context.Context, touched []*rescue.Touched) (freed int) {
	now := f.r.left(f.plan)
	workers := f.failing(ctx, now.Survivors)
	if len(workers) == 0 {
		return 0
	}
	var failing []string
	for _, w := range workers {
		failing = append(failing, w.node)
	}
	in, err := f.open(ctx, now)
	defer closeAll(ctx, in.peers)
	if err != nil {
		return 0
	}
	at := map[string]int{}
	for _, t := range touched {
		tried, ferr := rescue.Free(ctx, in.peers, failing, t, in.lost, in.resolution)
		for node, n := range tried {
			at[node] += n
			freed += n
		}
		err = errors.Join(err, ferr)
	}
	if freed == 0 {
		for _, w := range workers {
			n, uerr := f.r.unblock(ctx, now.Survivors, w, in)
			at[w.node] += n
			freed += n
			err = errors.Join(err, uerr)
		}
	}
	if ctx.Err() != nil {
		err = nil // the wait is over
	}
	if freed > 0 || err != nil {
		f.r.Log.Warn("rows kept apply workers from going on, and were taken off or replaced",
			"failing", failing, "rows", at, "error", err)
	}
	return freed
}

// sight is what a look needs: sessions, who is lost, and what is repaired.
type sight struct {
	peers      []rescue.Peer
	lost       string
	resolution rescue.Resolution
}

// open opens the sessions of a look. Those that were opened are returned with an error too.
func (f *freer) open(ctx context.Context, now planner.Plan) (s sight, err error) {
	if f.plan.Kind == planner.Rejoin {
		return f.openRejoin(ctx, now)
	}
	s.lost = f.plan.Node
	if s.peers, err = f.r.peers(ctx, now); err != nil {
		return s, err
	}
	s.resolution, err = f.r.resolution(ctx, now)
	return s, err
}

// openRejoin is open in a rejoin: whatever needs a comparison stays, unless one is owed. Then
// what any of the readers has written counts.
func (f *freer) openRejoin(ctx context.Context, now planner.Plan) (s sight, err error) {
	s.resolution = rescue.Stop
	if f.r.compared(now.Node) {
		if s.resolution, err = f.r.resolution(ctx, now); err != nil {
			return s, err
		}
		now.Survivors = append([]string{now.Node}, now.Readers...)
		now = f.r.left(now)
	}
	s.peers, err = f.r.sessions(ctx, now.Survivors)
	return s, err
}

// failing are the workers that have failed since the last look.
func (f *freer) failing(ctx context.Context, survivors []string) (out []worker) {
	for w, n := range f.r.applyFailures(ctx, survivors) {
		if before, known := f.failures[w]; known && n > before {
			out = append(out, w)
		}
		f.failures[w] = n
		f.r.failed(w, n)
	}
	slices.SortFunc(out, worker.compare)
	return out
}

// unblock reads what the worker fails at from its slot, and takes off or replaces the rows
// that it meets, which the next comparison looks at. It returns how many.
func (r *Run) unblock(ctx context.Context, survivors []string, w worker, in sight) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, nextLimit)
	defer cancel()
	node, err := r.observed(w.node)
	if err != nil {
		return 0, err
	}
	at := slices.IndexFunc(node.Subscriptions, func(s topology.Subscription) bool { return s.Name == w.subscription })
	if at < 0 || !slices.Contains(survivors, node.Subscriptions[at].Provider) {
		return 0, nil
	}
	sub := node.Subscriptions[at]
	from, err := r.Engine.Progress(ctx, w.node, sub.Origin, false)
	if err != nil {
		return 0, err
	}
	stream, err := r.next(ctx, w.node, sub, from)
	if err != nil {
		return 0, r.Wrap(sub.Provider, err)
	}
	defer func() { _ = stream.Close(context.WithoutCancel(ctx)) }()
	off, err := rescue.Unblock(ctx, in.peers, rescue.Blocked{
		Node: w.node, Provider: sub.Provider, Next: stream,
		Waits: func(ctx context.Context) (bool, error) {
			now, err := r.Engine.Progress(ctx, w.node, sub.Origin, false)
			return now == from, err
		},
	}, in.lost, in.resolution)
	if off.Len() > 0 {
		r.mu.Lock()
		r.off = append(r.off, off)
		r.mu.Unlock()
	}
	return off.Len(), r.Wrap(w.node, err)
}

// next is what the node's subscription receives behind from.
func (r *Run) next(ctx context.Context, node string, sub topology.Subscription, from topology.LSN) (*rescue.Stream, error) {
	until, err := r.Engine.Flush(ctx, sub.Provider)
	if err != nil {
		return nil, err
	}
	format, err := r.Engine.Format(ctx, sub.Provider, node, sub.Provider)
	if err != nil {
		return nil, err
	}
	server, err := r.server(sub.Provider)
	if err != nil {
		return nil, err
	}
	conn, err := server.Replication(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := rescue.OpenNext(ctx, conn, from, rescue.StreamOptions{
		Node: sub.Provider, Slot: sub.Slot, Publications: sub.Publications, Until: until, Format: format,
	})
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
	}
	return stream, err
}

// tookOff reports whether rows were taken off since it was last asked, which a comparison
// that was under way may have passed already, and forgets them.
func (r *Run) tookOff() (bool, error) {
	off := r.Uncompared()
	var errs []error
	for _, t := range off {
		errs = append(errs, t.Close())
	}
	return len(off) > 0, errors.Join(errs...)
}

// takenOff are the rows that were found by what workers fail at, for a comparison.
func (r *Run) takenOff() []*rescue.Touched {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.off)
}

// freeing is what a lane does while it waits for all survivors: the worker that fails may
// be of a laggard whose lane has its gap already, and waits for nothing any more.
func (r *Run) freeing(p planner.Plan, own *lane) func(context.Context, *rescue.Touched) {
	f := r.freer(p)
	return func(ctx context.Context, touched *rescue.Touched) {
		// Touched keys are read by one at a time.
		r.free.Lock()
		defer r.free.Unlock()
		all, done := r.carried(own)
		defer done()
		f.look(ctx, append(all, touched))
	}
}

// carried are the touched keys of the other lanes that have their gap, which stay as they
// are until done is called. A lane that is being worked on is looked at the next time.
func (r *Run) carried(besides *lane) (all []*rescue.Touched, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var held []*lane
	for _, l := range r.lanes {
		if l == besides || !l.mu.TryLock() {
			continue
		}
		held = append(held, l)
		if l.touched != nil {
			all = append(all, l.touched)
		}
	}
	return all, func() {
		for _, l := range held {
			l.mu.Unlock()
		}
	}
}

// barrier waits until each survivor has applied what the others had committed, as the
// comparison needs it. A row may come in the way after the gap was carried, too.
// What is taken off meanwhile counts in freed.
func (r *Run) barrier(p planner.Plan, touched []*rescue.Touched, freed *int) rescue.Barrier {
	f := r.freer(p)
	return func(ctx context.Context) error {
		return rescue.Meanwhile(ctx,
			func(ctx context.Context) error { return r.Engine.Barrier(ctx, mutual(p.Survivors)) },
			func(ctx context.Context) { *freed += f.look(ctx, touched) })
	}
}

// drain waits until the node that is back and one that reads from it have applied what the
// other had committed. A row of a gap may be in the way of what the node brings: it has
// deleted the row, and written it anew.
func (r *Run) drain(ctx context.Context, p planner.Plan, reader string) error {
	nodes := []string{p.Node, reader}
	return r.freely(p, nodes, mutual(nodes))(ctx)
}

// freely waits for the pairs, and frees workers meanwhile, as a drain does: a survivor that
// a node brings what it was never fenced off from has nobody else who waits for it. Blocks
// are compared side by side, so each wait looks for itself.
func (r *Run) freely(p planner.Plan, nodes []string, pairs []engine.Pair) rescue.Barrier {
	p.Survivors = nodes
	return func(ctx context.Context) error {
		f := r.freer(p)
		return rescue.Meanwhile(ctx,
			func(ctx context.Context) error { return r.Engine.Barrier(ctx, pairs) },
			func(ctx context.Context) { f.look(ctx, nil) })
	}
}
