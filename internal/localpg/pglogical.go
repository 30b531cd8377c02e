package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"healer/topology"
)

// The engines of a mesh.
const (
	// Native is PostgreSQL's own logical replication.
	Native = "native"
	// Pglogical is the extension of that name.
	Pglogical = "pglogical"
)

// pglogicalMajors are the releases for which Debian 12 and the PostgreSQL project
// have packages of pglogical 2.4, and with which a mesh of it is tried.
func pglogicalMajors() []int { return []int{15} }

// FindPglogical returns an installation that has the library of the extension
// pglogical. It looks where Debian's packages put it, and in HEALER_PG_BINDIR. The
// error is a *topology.Fault that says how to install it.
func FindPglogical() (Installation, error) { return findPglogical(context.Background()) }

func findPglogical(ctx context.Context) (Installation, error) {
	var dirs, looked []string
	dirs = append(dirs, filepath.SplitList(os.Getenv(EnvBinDir))...)
	for _, major := range pglogicalMajors() {
		dirs = append(dirs, fmt.Sprintf("/usr/lib/postgresql/%d/bin", major))
	}
	for _, dir := range dirs {
		library := filepath.Join(filepath.Dir(dir), "lib", "pglogical.so")
		looked = append(looked, library)
		if _, err := os.Stat(library); err != nil {
			continue
		}
		if inst, err := readBinDir(ctx, dir); err == nil {
			return inst, nil
		}
	}
	return Installation{}, &topology.Fault{
		Class: topology.Permanent, Code: "pglogical_not_found",
		Hint: "on Debian 12 run `make pglogical` as root: it is apt-get install postgresql-15-pglogical, without a cluster of the package's own",
		Err:  fmt.Errorf("PostgreSQL 15 with pglogical was not found: there is none of\n  %s", strings.Join(looked, "\n  ")),
	}
}

// wirePglogical makes the nodes, the replication sets and the subscriptions.
func (m *Mesh) wirePglogical(ctx context.Context) error {
	if err := m.eachNode(ctx, m.makeNode); err != nil {
		return err
	}
	// One after the other: each makes a slot, which waits for the transactions that run
	// on the other node, and a subscription in the making is such a transaction.
	for _, p := range m.pairs() {
		if err := m.subscribePglogical(ctx, m.names[p.to], m.names[p.from]); err != nil {
			return err
		}
	}
	return m.WaitStreaming(ctx)
}

func (m *Mesh) makeNode(ctx context.Context, s *Server) error {
	if _, err := s.Exec(ctx, "create extension pglogical"); err != nil {
		return err
	}
	if _, err := s.Exec(ctx, `select pglogical.create_node(node_name := $1, dsn := $2)`, s.Name(), s.DSN()); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	for _, sql := range m.opts.Schema {
		if _, err := s.Exec(ctx, sql); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
	}
	const (
		// Tables without a primary key have no updates that others could find.
		add = `select count(pglogical.replication_set_add_table(case when exists (
				select from pg_index i where i.indrelid = c.oid and i.indisprimary) then 'default' else 'default_insert_only' end, c.oid))
			from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where c.relkind = 'r' and n.nspname not in ('pglogical', 'pg_catalog', 'information_schema') and n.nspname !~ '^pg_'`
		named = ` and c.oid = any($1::regclass[])`
	)
	sql, args := add, []any(nil)
	if len(m.opts.Tables) > 0 {
		sql, args = add+named, []any{m.opts.Tables}
	}
	if _, err := s.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("replication sets: %w", err)
	}
	return nil
}

func (m *Mesh) subscribePglogical(ctx context.Context, to, from *Server) error {
	dsn := from.DSN()
	if link, ok := m.links[pair{from.Name(), to.Name()}]; ok {
		dsn = conninfo(link.Port(), m.opts.Database)
	}
	name := SubscriptionName(to.Name(), from.Name())
	_, err := to.Exec(ctx, `select pglogical.create_subscription(subscription_name := $1, provider_dsn := $2,
		synchronize_structure := false, synchronize_data := false, forward_origins := '{}')`, name, dsn)
	if err != nil {
		return fmt.Errorf("subscription: %w", err)
	}
	slot, err := Value[string](ctx, to, `select sub_slot_name::text from pglogical.subscription where sub_name = $1`, name)
	if err != nil {
		return fmt.Errorf("subscription: %w", err)
	}
	m.slots[pair{from.Name(), to.Name()}] = slot
	// Until it has its slot it may still fail, and then nobody tells why.
	for {
		status, err := Value[string](ctx, to, `select status from pglogical.show_subscription_status($1)`, name)
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
