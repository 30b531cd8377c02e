package workload

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/chaos/history"
)

// retryPause is how long a client waits before it connects again.
const retryPause = 20 * time.Millisecond

// client is one application beside a server. Its transactions follow one another.
type client struct {
	node   Node
	number int
	// keyed: what it writes has a key, and can be carried many transactions at a time.
	keyed bool
	opts  *Options
	board *board
	dice  *rand.Rand

	conn *pgx.Conn
	// backend is the session's, as the server names it.
	backend backend
	// doubt is the last transaction while it is not known whether it happened.
	doubt *doubt
	// opened is set once the node's accounts are there.
	opened   bool
	sequence int64

	mu  sync.Mutex
	all []history.Transaction
}

func newClient(n Node, index, number int, o *Options, b *board) *client {
	return &client{
		node: n, number: number, keyed: (uint64(index)+o.Seed)%2 == 0, opts: o, board: b, //nolint:gosec // a small number
		dice: rand.New(rand.NewPCG(o.Seed, uint64(index)<<32|uint64(number))), //nolint:gosec // dice
	}
}

// run writes until ctx ends.
func (c *client) run(ctx context.Context) {
	defer c.hangUp(ctx)
	for ctx.Err() == nil {
		if !c.connected(ctx) {
			pause(ctx, retryPause)
			continue
		}
		if c.settled(ctx) && c.isOpen(ctx) {
			c.next(ctx)
		}
		pause(ctx, c.opts.Pace)
	}
}

// connected makes a connection where there is none.
func (c *client) connected(ctx context.Context) bool {
	if c.conn != nil && !c.conn.IsClosed() {
		return true
	}
	c.hangUp(ctx)
	ctx, cancel := context.WithTimeout(ctx, c.opts.OpLimit)
	defer cancel()
	conn, err := c.node.On.Connect(ctx)
	if err != nil {
		return false
	}
	c.conn = conn
	// Whoever cannot say who it is must not write: nobody could tell later whether
	// it is gone.
	if err := conn.QueryRow(ctx, backendSQL+` where pid = pg_backend_pid()`).Scan(&c.backend.pid, &c.backend.began); err != nil {
		c.hangUp(ctx)
		return false
	}
	return true
}

func (c *client) hangUp(ctx context.Context) {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx)
	c.conn = nil
}

// since is the time of the history.
func (c *client) since() time.Duration { return time.Since(c.opts.Start) }

func (c *client) transactions() []history.Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]history.Transaction(nil), c.all...)
}

func (c *client) count(o history.Outcome) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for i := range c.all {
		if c.all[i].Outcome == o {
			n++
		}
	}
	return n
}

// errRollback is why a transaction ended that was taken back on purpose.
var errRollback = errors.New("rolled back on purpose")
