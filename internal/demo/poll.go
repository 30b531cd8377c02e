package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"healer/internal/demo/show"
	"healer/internal/localpg"
	"healer/topology"
)

const (
	// progressEvery and ratesEvery are how often the view gets new numbers.
	progressEvery = 250 * time.Millisecond
	ratesEvery    = 500 * time.Millisecond
	// queryLimit bounds one reading for the view.
	queryLimit = 2 * time.Second
)

// poller reads every node for the view, each in a session of its own.
type poller struct {
	mesh  *localpg.Mesh
	show  func(show.Update)
	now   func() show.Stamp
	alive func(node string, server bool)
	done  sync.WaitGroup
}

func (p *poller) start(ctx context.Context) {
	for _, s := range p.mesh.Nodes() {
		p.done.Go(func() {
			for ctx.Err() == nil {
				if err := p.watch(ctx, s); err != nil && ctx.Err() == nil {
					p.alive(s.Name(), s.Running())
				}
				wait(ctx, progressEvery)
			}
		})
	}
}

// progressSQL reads a node's own position and what it has applied.
const progressSQL = `
	select s.subname, s.subenabled, coalesce(o.remote_lsn, '0/0')::text, pg_current_wal_flush_lsn()::text
	from pg_subscription s
	left join pg_replication_origin_status o on o.external_id = 'pg_' || s.oid
	where s.subdbid = (select oid from pg_database where datname = current_database())`

// watch reads one node until it cannot be read.
func (p *poller) watch(ctx context.Context, s *localpg.Server) error {
	dial, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	conn, err := s.Connect(dial)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(end)
	}()
	for ctx.Err() == nil {
		u := show.Progress{
			Heads:   map[string]topology.LSN{},
			Applied: map[string]map[string]topology.LSN{s.Name(): {}}, Fenced: map[string][]string{},
		}
		query, cancel := context.WithTimeout(ctx, queryLimit)
		rows, err := conn.Query(query, progressSQL)
		if err == nil {
			for rows.Next() {
				var sub, applied, head string
				var enabled bool
				if err = rows.Scan(&sub, &enabled, &applied, &head); err == nil {
					p.add(&u, s.Name(), sub, enabled, applied, head)
				}
			}
			rows.Close()
			err = rows.Err()
		}
		cancel()
		if err != nil {
			return err
		}
		u.At = p.now()
		p.alive(s.Name(), true)
		p.show(u)
		wait(ctx, progressEvery)
	}
	return nil
}

func (p *poller) add(u *show.Progress, node, sub string, enabled bool, applied, head string) {
	for _, origin := range p.mesh.Names() {
		if localpg.SubscriptionName(node, origin) != sub {
			continue
		}
		at, err := topology.ParseLSN(applied)
		if err == nil {
			u.Applied[node][origin] = at
		}
		if !enabled {
			u.Fenced[node] = append(u.Fenced[node], origin)
		}
	}
	if at, err := topology.ParseLSN(head); err == nil {
		u.Heads[node] = at
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// final is an error that waiting does not mend.
type final struct{ error }

// poll calls cond every now and then until it holds, ctx ends, or its error is
// final. The error of cond says what is still missing.
func poll(ctx context.Context, cond func(context.Context) error) error {
	for {
		var end final
		err := cond(ctx)
		if err == nil || ctx.Err() != nil || errors.As(err, &end) {
			return err
		}
		wait(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
