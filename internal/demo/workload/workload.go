package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"healer/internal/localpg"
)

// writersPerNode write on each node, each in its own range of keys.
const writersPerNode = 2

// firstBurstRange is behind the ranges of all writers.
const firstBurstRange = 1000

// Node is a server to write to.
type Node struct {
	Name string
	On   localpg.Connector
}

// Options say how much is written.
type Options struct {
	Nodes []Node
	// Pace is the pause of each writer between two transactions; default 20 ms.
	Pace time.Duration
	// Seed makes the transactions repeatable.
	Seed uint64
}

// Workload is the running set of writers. A writer whose server is gone keeps
// trying to come back.
type Workload struct {
	opts    Options
	writers []*writer
	bursts  int

	ctx  context.Context //nolint:containedctx // the life of the writers, from Start to Stop
	stop context.CancelFunc
	done sync.WaitGroup
}

// Stats is what was written on one node.
type Stats struct {
	Node string
	// Transactions and Rows are committed ones; Failures are transactions that
	// were tried and have an unknown or bad end.
	Transactions, Rows, Failures int64
	// Pause is the longest time between two commits of one writer since
	// ResetPauses, the time since its last one included.
	Pause time.Duration
}

type writer struct {
	node  Node
	clerk *clerk

	mu    sync.Mutex
	stats Stats
	last  time.Time
}

// New prepares the writers.
func New(o Options) *Workload {
	if o.Pace <= 0 {
		o.Pace = 20 * time.Millisecond
	}
	w := &Workload{opts: o}
	for i, n := range o.Nodes {
		for j := range writersPerNode {
			w.writers = append(w.writers, &writer{
				node: n, clerk: newClerk(n.Name, i*writersPerNode+j, o.Seed), stats: Stats{Node: n.Name},
			})
		}
	}
	return w
}

// Start begins to write, until ctx ends or Stop is called.
func (w *Workload) Start(ctx context.Context) {
	w.ctx, w.stop = context.WithCancel(ctx)
	for _, wr := range w.writers {
		wr.last = time.Now()
		w.done.Go(func() { wr.run(w.ctx, w.opts.Pace) })
	}
}

// Stop ends the writers and waits for them. It may be called again.
func (w *Workload) Stop() {
	if w.stop != nil {
		w.stop()
	}
	w.done.Wait()
}

// Stats sums up each node, in the order of the options.
func (w *Workload) Stats() []Stats {
	sums := make([]Stats, len(w.opts.Nodes))
	now := time.Now()
	for i, wr := range w.writers {
		s := &sums[i/writersPerNode]
		wr.mu.Lock()
		s.Node = wr.stats.Node
		s.Transactions += wr.stats.Transactions
		s.Rows += wr.stats.Rows
		s.Failures += wr.stats.Failures
		s.Pause = max(s.Pause, wr.stats.Pause, now.Sub(wr.last))
		wr.mu.Unlock()
	}
	return sums
}

// ResetPauses begins a new measurement of pauses.
func (w *Workload) ResetPauses() {
	for _, wr := range w.writers {
		wr.mu.Lock()
		wr.stats.Pause = 0
		wr.mu.Unlock()
	}
}

func (wr *writer) run(ctx context.Context, pace time.Duration) {
	for ctx.Err() == nil {
		_ = session(ctx, wr.node.On, func(exec execFunc) error {
			for pause(ctx, pace) {
				t := wr.clerk.any()
				rows, err := exec(ctx, t.sql)
				if err != nil {
					wr.failed()
					return err
				}
				if t.committed != nil {
					t.committed()
				}
				wr.committed(rows)
			}
			return nil
		})
		pause(ctx, retryPause)
	}
}

func (wr *writer) committed(rows int64) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	now := time.Now()
	wr.stats.Transactions++
	wr.stats.Rows += rows
	wr.stats.Pause = max(wr.stats.Pause, now.Sub(wr.last))
	wr.last = now
}

func (wr *writer) failed() {
	wr.mu.Lock()
	wr.stats.Failures++
	wr.mu.Unlock()
}

// Burst is a heap of rows that one node has written at once.
type Burst struct {
	Transactions, Rows int64
	// Orders are those which the burst made and did not delete again.
	Orders []int64
}

// Burst writes at least the given number of rows on a node: orders with their
// lines, updates and deletes, in transactions of 1 to 12 rows. It calls progress
// with the rows written so far now and then; progress may be nil.
func (w *Workload) Burst(ctx context.Context, node string, rows int, progress func(done int64)) (Burst, error) {
	n, err := w.node(node)
	if err != nil {
		return Burst{}, err
	}
	c := newClerk(node, firstBurstRange+w.bursts, w.opts.Seed)
	w.bursts++
	var b Burst
	err = session(ctx, n.On, func(exec execFunc) error {
		for b.Rows < int64(rows) {
			t := c.burst()
			changed, err := exec(ctx, t.sql)
			if err != nil {
				return err
			}
			if t.committed != nil {
				t.committed()
			}
			b.Transactions++
			b.Rows += changed
			if progress != nil && b.Transactions%100 == 0 {
				progress(b.Rows)
			}
		}
		return nil
	})
	b.Orders = c.orders
	if err != nil {
		return b, fmt.Errorf("burst on %s: %w", node, err)
	}
	return b, nil
}

// burst thinks of a transaction as any does, with more rows.
func (c *clerk) burst() transaction {
	switch r := c.rng.IntN(100); {
	case len(c.customers) < 20:
		return c.register()
	case len(c.orders) < 20 || r < 80:
		return c.place(5 + c.rng.IntN(6))
	case r < 90:
		return c.ship()
	default:
		return c.cancel()
	}
}

// Share lets node change the given orders, whose author must not touch them any
// more, until Stop: most are updated again and again, one in ten is deleted with
// its lines. It returns at once.
func (w *Workload) Share(node string, orders []int64) error {
	n, err := w.node(node)
	if err != nil {
		return err
	}
	if w.ctx == nil {
		return errors.New("the workload has not been started")
	}
	left := append([]int64(nil), orders...)
	w.done.Go(func() {
		for i := 0; w.ctx.Err() == nil && len(left) > 0; {
			_ = session(w.ctx, n.On, func(exec execFunc) error {
				for ; len(left) > 0 && pause(w.ctx, w.opts.Pace); i++ {
					at := i % len(left)
					sql := shipSQL(left[at], node)
					remove := i%10 == 9
					if remove {
						sql = cancelSQL(left[at])
					}
					if _, err := exec(w.ctx, sql); err != nil {
						return err
					}
					if remove {
						left = append(left[:at], left[at+1:]...)
					}
				}
				return nil
			})
			pause(w.ctx, retryPause)
		}
	})
	return nil
}

func (w *Workload) node(name string) (Node, error) {
	for _, n := range w.opts.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("the workload has no node %q", name)
}
