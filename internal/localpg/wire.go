package localpg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// SubscriptionName is the name of the subscription with which to reads from, and
// of its slot on from.
func SubscriptionName(to, from string) string { return "sub_" + to + "_from_" + from }

// wire makes the schema, the publications and the subscriptions.
//
// The slots are made first and by themselves. CREATE SUBSCRIPTION could make
// them, but from within a transaction that has an id already, and making a slot
// waits for the transactions that run on the other node: two nodes which
// subscribe to each other would wait for each other for ever.
func (m *Mesh) wire(ctx context.Context) error {
	if err := m.eachNode(ctx, m.publish); err != nil {
		return err
	}
	if err := m.eachNode(ctx, m.makeSlots); err != nil {
		return err
	}
	if err := m.eachNode(ctx, m.subscribe); err != nil {
		return err
	}
	return m.WaitStreaming(ctx)
}

func (m *Mesh) publish(ctx context.Context, s *Server) error {
	for _, sql := range m.opts.Schema {
		if _, err := s.Exec(ctx, sql); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
	}
	what := "all tables"
	if len(m.opts.Tables) > 0 {
		what = "table " + strings.Join(m.opts.Tables, ", ")
	}
	if _, err := s.Exec(ctx, "create publication "+Publication+" for "+what); err != nil {
		return fmt.Errorf("publication: %w", err)
	}
	return nil
}

func (m *Mesh) makeSlots(ctx context.Context, from *Server) error {
	for _, to := range m.nodes {
		if to == from {
			continue
		}
		_, err := from.Exec(ctx, `select pg_create_logical_replication_slot($1, 'pgoutput')`, SubscriptionName(to.Name(), from.Name()))
		if err != nil {
			return fmt.Errorf("slot: %w", err)
		}
	}
	return nil
}

func (m *Mesh) subscribe(ctx context.Context, to *Server) error {
	for _, from := range m.nodes {
		if to == from {
			continue
		}
		name := SubscriptionName(to.Name(), from.Name())
		dsn := from.DSN()
		if link, ok := m.links[pair{from.Name(), to.Name()}]; ok {
			dsn = conninfo(link.Port(), m.opts.Database)
		}
		sql := fmt.Sprintf("create subscription %s connection %s publication %s with (origin = none, copy_data = false, create_slot = false, slot_name = %s)",
			name, quoteLiteral(dsn), Publication, quoteLiteral(name))
		if _, err := to.Exec(ctx, sql); err != nil {
			return fmt.Errorf("subscription: %w", err)
		}
	}
	return nil
}

func quoteLiteral(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// WaitStreaming waits until the streams among the named nodes run, or with no
// names among all nodes that run.
func (m *Mesh) WaitStreaming(ctx context.Context, names ...string) error {
	return m.eachStream(ctx, names, func(ctx context.Context, from *Server, slots []string) error {
		return waitSlots(ctx, from, slots, "is not streaming", `
			select s.slot_name from pg_replication_slots s
			left join pg_stat_replication r on r.pid = s.active_pid
			where s.slot_name = any($1) and r.state is distinct from 'streaming'`)
	})
}

// WaitCaughtUp waits until every named node has applied all that the other named
// ones had committed when it was called; with no names, all nodes that run take
// part. The error after the context's end names a stream that was behind.
func (m *Mesh) WaitCaughtUp(ctx context.Context, names ...string) error {
	return m.eachStream(ctx, names, func(ctx context.Context, from *Server, slots []string) error {
		// A commit that writes and waits for the disk puts everything before it
		// on the disk as well, asynchronous commits too; decoding sees only that.
		if _, err := from.Exec(ctx, `set synchronous_commit = on; select pg_logical_emit_message(true, 'localpg', 'barrier')`); err != nil {
			return err
		}
		lsn, err := Value[string](ctx, from, `select pg_current_wal_flush_lsn()::text`)
		if err != nil {
			return err
		}
		return waitSlots(ctx, from, slots, "has not applied "+lsn, `
			select s.slot_name from pg_replication_slots s
			left join pg_stat_replication r on r.pid = s.active_pid
			where s.slot_name = any($1)
			  and greatest(s.confirmed_flush_lsn, r.replay_lsn) < $2::pg_lsn`, lsn)
	})
}

// eachStream runs do for every named node, with the slots of the other named
// ones.
func (m *Mesh) eachStream(ctx context.Context, names []string, do func(ctx context.Context, from *Server, slots []string) error) error {
	if len(names) == 0 {
		for _, s := range m.nodes {
			if s.Running() {
				names = append(names, s.Name())
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, from := range names {
		var slots []string
		for _, to := range names {
			if to != from {
				slots = append(slots, m.Slot(from, to))
			}
		}
		g.Go(func() error { return do(ctx, m.Node(from), slots) })
	}
	return g.Wait()
}

// waitSlots asks from until the query names no slot any more.
func waitSlots(ctx context.Context, from *Server, slots []string, what, sql string, args ...any) error {
	conn, err := from.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var behind []string
	for {
		var now []string
		err := conn.QueryRow(ctx, "select coalesce(array_agg(slot_name::text), '{}') from ("+sql+") q", append([]any{slots}, args...)...).Scan(&now)
		if err == nil {
			if behind = now; len(behind) == 0 {
				return nil
			}
			err = pause(ctx, 10*time.Millisecond)
		}
		if err != nil {
			if len(behind) > 0 {
				return fmt.Errorf("%s: stream %s %s: %w", from.Name(), behind[0], what, err)
			}
			return fmt.Errorf("%s: %w", from.Name(), err)
		}
	}
}
