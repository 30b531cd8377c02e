package steps

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/planner"
	"healer/rescue"
	"healer/topology"
)

// hold keeps recoveries of a node that is back out of all that are to read from it,
// until the run ends, and makes sure that none is open there. Another agent may
// still be at one, which began before that node was back: what carries a gap marks it
// under this lock, and must neither have its source nor its laggard let in meanwhile.
func (r *Run) hold(ctx context.Context, p planner.Plan) error {
	if err := r.letGo(ctx); err != nil {
		return err
	}
	for _, node := range p.Readers {
		if err := r.holdOn(ctx, node, p.Node); err != nil {
			return r.Wrap(node, err)
		}
	}
	for _, node := range p.Readers {
		n, err := r.observe(ctx, node)
		if err != nil {
			return err
		}
		if _, marked := n.GapOf(p.Node); marked {
			return &topology.Fault{
				Class: topology.Conflict, Code: string(planner.RecoveryUnfinished), Node: node,
				Hint: "nothing to do: the recovery comes first, and is planned at the next pass",
				Err:  fmt.Errorf("a recovery of %s has begun on %s", p.Node, node),
			}
		}
	}
	return nil
}

// holdOn takes the lock on one node.
func (r *Run) holdOn(ctx context.Context, node, origin string) error {
	conn, err := r.session(ctx, node)
	if err != nil {
		return err
	}
	if err := rescue.KeepOut(ctx, conn, node, origin); err != nil {
		return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = append(r.held, conn)
	return nil
}

// letGo gives back what hold has taken. The locks go before the sessions end, which a
// server notices only later.
func (r *Run) letGo(ctx context.Context) error {
	r.mu.Lock()
	held := r.held
	r.held = nil
	r.mu.Unlock()
	var errs []error
	for _, conn := range held {
		if !conn.IsClosed() { // if it is, its server has taken the lock back
			errs = append(errs, unlock(ctx, conn))
		}
	}
	return errors.Join(errs...)
}

func unlock(ctx context.Context, conn *pgconn.PgConn) error {
	return errors.Join(conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_unlock_all()").Close(), conn.Close(ctx))
}
