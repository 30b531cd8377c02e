package workload

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"healer/chaos/history"
)

// Workload is the running set of clients. A client whose server is gone keeps trying
// to come back.
type Workload struct {
	opts    Options
	board   *board
	clients []*client
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	samples []history.Sample
}

// Record is what a workload leaves.
type Record struct {
	// Transactions are sorted by when they began.
	Transactions []history.Transaction
	// Samples are what was read from the servers meanwhile, in the order of time.
	Samples []history.Sample
}

// Start begins to write, until ctx ends or Stop is called. The tables must be there;
// see Setup. It fails when the options are wrong or a server refuses what they ask for.
func Start(ctx context.Context, o Options) (*Workload, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	w := &Workload{opts: o, board: newBoard(o.names(), o.Rows)}
	for i, n := range o.Nodes {
		if err := ready(ctx, n, o); err != nil {
			return nil, fmt.Errorf("workload: %w", err)
		}
		for j := range o.Clients {
			w.clients = append(w.clients, newClient(n, i, j, &w.opts, w.board))
		}
	}
	ctx, w.stop = context.WithCancel(ctx)
	for _, c := range w.clients {
		w.done.Go(func() { c.run(ctx) })
	}
	for _, n := range o.Nodes {
		w.done.Go(func() { w.sample(ctx, n) })
	}
	return w, nil
}

// Stop ends the clients, waits for them, and settles what is left of transactions in
// two phases on the servers that answer, for as long as ctx lasts. It may be called
// again.
func (w *Workload) Stop(ctx context.Context) Record {
	w.stop()
	w.done.Wait()
	var r Record
	for _, c := range w.clients {
		c.finish(ctx)
		r.Transactions = append(r.Transactions, c.transactions()...)
	}
	sort.SliceStable(r.Transactions, func(i, j int) bool { return r.Transactions[i].Began < r.Transactions[j].Began })
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Samples = slices.Clone(w.samples)
	sort.SliceStable(r.Samples, func(i, j int) bool { return r.Samples[i].At < r.Samples[j].At })
	return r
}

// Committed is how many transactions a node has acknowledged so far.
func (w *Workload) Committed(node string) int {
	n := 0
	for _, c := range w.clients {
		if c.node.Name == node {
			n += c.count(history.Committed)
		}
	}
	return n
}

// Failures is how many did not commit, or may not have, among them those that were
// taken back on purpose.
func (w *Workload) Failures(node string) int {
	n := 0
	for _, c := range w.clients {
		if c.node.Name == node {
			n += c.count(history.Failed) + c.count(history.Unknown)
		}
	}
	return n
}

// ready asks a server whether it can bear what the options ask for.
func ready(ctx context.Context, n Node, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.OpLimit)
	defer cancel()
	conn, err := n.On.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var prepared int
	var there bool
	err = conn.QueryRow(ctx, `select current_setting('max_prepared_transactions')::int, to_regclass($1) is not null`,
		scrap(n.Name)).Scan(&prepared, &there)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", n.Name, err)
	case !there:
		return fmt.Errorf("%s has no table %s: run Setup before", n.Name, scrap(n.Name))
	case o.Rates.Prepared > 0 && prepared < o.Clients:
		return fmt.Errorf("the rate prepared is %d, but %s has max_prepared_transactions = %d: set it to %d at least, or the rate to 0",
			o.Rates.Prepared, n.Name, prepared, o.Clients)
	}
	return nil
}

// pause waits, and reports false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
