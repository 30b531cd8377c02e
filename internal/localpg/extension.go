package localpg

import (
	"context"
	"errors"
	"fmt"
)

// extension is replication that an extension of PostgreSQL does, by SQL functions.
type extension struct {
	name string
	// createNode takes a node's name and DSN, subscribe a subscription's name and the
	// provider's DSN, slot and status a subscription's name. addTable is the function that
	// puts a table into a replication set.
	createNode, addTable, subscribe, slot, status string
}

// extension is nil for PostgreSQL's own logical replication.
func (o *Options) extension() *extension {
	switch o.Engine {
	case Pglogical:
		return pglogical()
	case Spock:
		return spock()
	}
	return nil
}

// wireExtension makes the nodes, the replication sets and the subscriptions.
func (m *Mesh) wireExtension(ctx context.Context, e *extension) error {
	if err := m.eachNode(ctx, func(ctx context.Context, s *Server) error { return m.makeNode(ctx, e, s) }); err != nil {
		return err
	}
	// One after the other: each makes a slot, which waits for the transactions that run
	// on the other node, and a subscription in the making is such a transaction.
	for _, p := range m.pairs() {
		if err := m.subscribeExtension(ctx, e, m.names[p.to], m.names[p.from]); err != nil {
			return err
		}
	}
	return m.WaitStreaming(ctx)
}

func (m *Mesh) makeNode(ctx context.Context, e *extension, s *Server) error {
	if _, err := s.Exec(ctx, "create extension "+e.name); err != nil {
		return err
	}
	if _, err := s.Exec(ctx, e.createNode, s.Name(), s.DSN()); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	for _, sql := range m.opts.Schema {
		if _, err := s.Exec(ctx, sql); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
	}
	// Tables without a primary key have no updates that others could find.
	sql, args := `select count(`+e.addTable+`(case when exists (
			select from pg_index i where i.indrelid = c.oid and i.indisprimary) then 'default' else 'default_insert_only' end, c.oid))
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind = 'r' and n.nspname not in ('`+e.name+`', 'pg_catalog', 'information_schema') and n.nspname !~ '^pg_'`, []any(nil)
	if len(m.opts.Tables) > 0 {
		sql, args = sql+` and c.oid = any($1::regclass[])`, []any{m.opts.Tables}
	}
	if _, err := s.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("replication sets: %w", err)
	}
	return nil
}

func (m *Mesh) subscribeExtension(ctx context.Context, e *extension, to, from *Server) error {
	dsn := from.DSN()
	if link, ok := m.links[pair{from.Name(), to.Name()}]; ok {
		dsn = conninfo(link.Port(), m.opts.Database)
	}
	name := SubscriptionName(to.Name(), from.Name())
	if _, err := to.Exec(ctx, e.subscribe, name, dsn); err != nil {
		return fmt.Errorf("subscription: %w", err)
	}
	slot, err := Value[string](ctx, to, e.slot, name)
	if err != nil {
		return fmt.Errorf("subscription: %w", err)
	}
	m.slots[pair{from.Name(), to.Name()}] = slot
	// Until it has its slot it may still fail, and then nobody tells why.
	for {
		status, err := Value[string](ctx, to, e.status, name)
		switch {
		case err != nil:
			return fmt.Errorf("subscription: %w", err)
		case status == "replicating":
			return nil
		}
		if err := pause(ctx, poll); err != nil {
			return errors.Join(fmt.Errorf("subscription %s is %s", name, status), err)
		}
	}
}

// Slot is the name of the slot on from that feeds the node to.
func (m *Mesh) Slot(from, to string) string {
	if slot, ok := m.slots[pair{from, to}]; ok {
		return slot
	}
	return SubscriptionName(to, from)
}
