package compare

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// crew is one connection to each of some nodes, used by one goroutine.
type crew struct {
	nodes   []Node
	timeout time.Duration
	conns   []*pgconn.PgConn
}

func newCrew(nodes []Node, timeout time.Duration) *crew {
	return &crew{nodes: nodes, timeout: timeout, conns: make([]*pgconn.PgConn, len(nodes))}
}

// conn is the connection to a node, made when it is first wanted.
func (c *crew) conn(ctx context.Context, at int) (*pgconn.PgConn, error) {
	if c.conns[at] != nil && !c.conns[at].IsClosed() {
		return c.conns[at], nil
	}
	conn, err := c.nodes[at].Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := session(ctx, conn, c.timeout); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("%s: %w", c.nodes[at].Name, err)
	}
	c.conns[at] = conn
	return conn, nil
}

// ask runs a query on one node.
func (c *crew) ask(ctx context.Context, at int, sql string, params ...[]byte) ([][][]byte, error) {
	conn, err := c.conn(ctx, at)
	if err != nil {
		return nil, err
	}
	got, err := query(ctx, conn, sql, params...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.nodes[at].Name, err)
	}
	return got, nil
}

// each runs fn for all nodes at the same time.
func (c *crew) each(ctx context.Context, fn func(ctx context.Context, at int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for at := range c.nodes {
		g.Go(func() error { return fn(ctx, at) })
	}
	return g.Wait()
}

func (c *crew) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.Close(ctx) // the socket is closed whatever the error
		}
	}
}

// rest waits between two blocks.
func rest(ctx context.Context, pause time.Duration) error {
	if pause <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
