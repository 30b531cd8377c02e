package steps

import (
	"context"
	"errors"
	"fmt"

	"healer/planner"
	"healer/rescue"
	"healer/topology"
)

// resolution is what becomes of two writes of one row: what the survivors' own apply
// workers do about them, and where they do nothing, what the file says.
func (r *Run) resolution(ctx context.Context, p planner.Plan) (rescue.Resolution, error) {
	said, err := r.Engine.Conflicts(ctx, r.left(p).Survivors...)
	if err != nil || said == "" {
		return r.Conflicts, err
	}
	return rescue.Resolution(said), nil
}

// sieve opens what leaves out rows that the lost node does not send to the target; nil
// when the stream has none.
func (r *Run) sieve(ctx context.Context, p planner.Plan, l *lane) (*rescue.Sieve, error) {
	filters, err := r.Engine.Filters(ctx, l.Source, l.Target, p.Node)
	if err != nil || len(filters) == 0 {
		return nil, err
	}
	conn, err := r.session(ctx, l.Source)
	if err != nil {
		return nil, err
	}
	s, err := rescue.NewSieve(ctx, l.Source, conn, filters)
	if err != nil {
		return nil, r.Wrap(l.Source, errors.Join(err, s.Close(context.WithoutCancel(ctx))))
	}
	return s, nil
}

// take does what a message of the gap asks of the target, or stops: nothing that the lost
// node sent is passed over. What a person has done in its place is known by a mark.
func (r *Run) take(ctx context.Context, p planner.Plan, l *lane, lsn topology.LSN, row map[string]string) error {
	c, err := r.Engine.Command(ctx, l.Target, p.Node, row)
	if err != nil {
		return err
	}
	if c.SQL != "" {
		return r.Wrap(l.Target, r.command(ctx, l.Target, c.SQL))
	}
	if c.Stop == "" {
		return nil
	}
	done, mark, err := r.Engine.Done(ctx, l.Target, p.Node, lsn)
	if err != nil || done {
		return err
	}
	return &topology.Fault{
		Class: topology.Permanent, Code: "message_in_gap", Node: l.Target,
		Hint: fmt.Sprintf("on %s: %s; then SELECT pg_replication_origin_create('%s'), and run the recovery again", l.Target, c.By, mark),
		Err:  fmt.Errorf("transaction %s of %s sent a message that is not carried over: %s", lsn, p.Node, c.Stop),
	}
}

// command runs SQL on a node in a session of its own.
func (r *Run) command(ctx context.Context, node, sql string) error {
	conn, err := r.session(ctx, node)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return conn.Exec(ctx, sql).Close()
}
