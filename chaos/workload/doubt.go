package workload

import (
	"context"
	"time"

	"healer/chaos/history"
)

// backend names a session on its server: process ids come again.
type backend struct {
	pid   int32
	began time.Time
}

const backendSQL = `select pid, backend_start from pg_stat_activity`

// doubt is a transaction of which its client does not know whether it happened.
type doubt struct {
	*transaction
	// on is the session it was sent by.
	on backend
	// phases: it may have been prepared.
	phases bool
}

// settled reports whether it is known what became of the client's last transaction.
// The client asks its server, once the session is gone by which it was sent: else it
// might happen yet. What it finds out is for the rows that it had claimed; the history
// still says unknown, because that is what an application would have been told.
func (c *client) settled(ctx context.Context) bool {
	if c.doubt == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.OpLimit)
	defer cancel()
	d := c.doubt
	var lives, prepared, there bool
	err := c.conn.QueryRow(ctx, `select exists (`+backendSQL+` where pid = $1 and backend_start = $2),
		exists (select from pg_prepared_xacts where gid = $3)`, d.on.pid, d.on.began, d.gid()).Scan(&lives, &prepared)
	if err != nil || lives {
		return false
	}
	if prepared {
		if _, err := c.conn.Exec(ctx, d.verb()+" prepared "+quote(d.gid())); err != nil {
			return false
		}
		d.Outcome, err = d.ended()
		if d.Error = ""; err != nil {
			d.Error = err.Error()
		}
	}
	// A statement of its own: the session may have ended after the first one's
	// snapshot was taken.
	if err := c.conn.QueryRow(ctx, `select exists (select from `+Namespace+`.entries where node = $1 and client = $2 and sequence = $3)`,
		d.Node, d.Client, d.Sequence).Scan(&there); err != nil {
		return false
	}
	c.board.settle(history.ClientID(d.Node, d.Client), d.Sequence, there)
	if d.phases {
		c.record(d.transaction)
	}
	c.doubt = nil
	return true
}

// isOpen reports whether the client may write: its node's accounts are there, or it is
// the client that makes them.
func (c *client) isOpen(ctx context.Context) bool {
	if c.opened {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.OpLimit)
	defer cancel()
	err := c.conn.QueryRow(ctx, `select exists (select from `+Namespace+`.account where node = $1)`, c.node.Name).Scan(&c.opened)
	return err == nil && (c.opened || c.number == 0)
}

// finish settles what it can after the last transaction, and hangs up.
func (c *client) finish(ctx context.Context) {
	for c.doubt != nil && ctx.Err() == nil && c.connected(ctx) && !c.settled(ctx) {
		pause(ctx, retryPause)
	}
	if d := c.doubt; d != nil && d.phases {
		c.doubt = nil
		c.record(d.transaction)
	}
	c.hangUp(ctx)
}
