package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"healer/chaos/history"
	"healer/postgres/mark"
	"healer/topology"
)

// Reader reads the whole state of servers.
type Reader struct {
	// Nodes are all nodes, Namespace the schema whose tables are read. Its view
	// entries is summed up by transaction.
	Nodes     []string
	Namespace string
	// Provider says from which node a subscription of the node reads; empty when it
	// is none of the mesh's.
	Provider func(node, subscription string) string
}

// Server reads one server. Nobody should write meanwhile: the tables are read one
// after another.
func (r Reader) Server(ctx context.Context, node string, conn *pgx.Conn) (history.Server, error) {
	out := history.Server{Node: node, Tables: map[string][]history.Row{}, Progress: map[string]topology.LSN{}}
	for _, part := range []struct {
		what string
		read func(context.Context, *pgx.Conn, *history.Server) error
	}{
		{"journal", r.journal},
		{"tables", r.tables},
		{"sums", r.sums},
		{"progress", r.progress},
		{"slots", r.slots},
		{"marks", r.marks},
		{"locks", r.locks},
	} {
		if err := part.read(ctx, conn, &out); err != nil {
			return history.Server{}, fmt.Errorf("snapshot of %s: %s: %w", node, part.what, err)
		}
	}
	return out, nil
}

func (r Reader) journal(ctx context.Context, conn *pgx.Conn, into *history.Server) error {
	rows, err := conn.Query(ctx, fmt.Sprintf(`select node, client, sequence, min(total), count(*), count(distinct op),
		min(writer), max(writer) from %s group by 1, 2, 3`, pgx.Identifier{r.Namespace, "entries"}.Sanitize()))
	if err != nil {
		return err
	}
	var e history.Entry
	var node string
	var client int
	var sequence int64
	_, err = pgx.ForEachRow(rows, []any{&node, &client, &sequence, &e.Of, &e.Rows, &e.Distinct, &e.First, &e.Last}, func() error {
		e.Transaction = history.TransactionID(node, client, sequence)
		into.Journal = append(into.Journal, e)
		return nil
	})
	return err
}

// kept is how many characters of a column pad PostgreSQL surely keeps outside of the row
// (TOAST_TUPLE_THRESHOLD is some 2,000 bytes, and what clients write does not compress).
const kept = 2500

// tables reads every table that has a primary key and a column tx. What a column pad
// begins with is who wrote it. A short one tells nothing: it is sent with every write of
// the row, also by a writer that had an old one.
func (r Reader) tables(ctx context.Context, conn *pgx.Conn, into *history.Server) error {
	rows, err := conn.Query(ctx, `select c.relname::text, string_agg(format('t.%I::text', a.attname), $$ || '/' || $$ order by array_position(i.indkey::int2[], a.attnum))
		from pg_class c join pg_index i on i.indrelid = c.oid and i.indisprimary
		join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
		where c.relnamespace = $1::regnamespace and c.relkind = 'r' group by 1 order by 1`, r.Namespace)
	if err != nil {
		return err
	}
	keys := map[string]string{}
	var table, key string
	if _, err := pgx.ForEachRow(rows, []any{&table, &key}, func() error { keys[table] = key; return nil }); err != nil {
		return err
	}
	for table, key := range keys {
		rows, err := conn.Query(ctx, fmt.Sprintf(`select %[1]s, t::text, t.tx, case when length(to_jsonb(t) ->> 'pad') > %[3]d then split_part(to_jsonb(t) ->> 'pad', ' ', 1) else '' end, coalesce((extract(epoch from pg_xact_commit_timestamp(t.xmin)) * 1000000)::bigint, 0)
			from %[2]s t order by (%[1]s) collate "C"`, key, pgx.Identifier{r.Namespace, table}.Sanitize(), kept))
		if err != nil {
			return err
		}
		if into.Tables[table], err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (history.Row, error) {
			var x history.Row
			err := row.Scan(&x.Key, &x.Value, &x.Transaction, &x.Wide, &x.At)
			return x, err
		}); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
	}
	return nil
}

func (r Reader) sums(ctx context.Context, conn *pgx.Conn, into *history.Server) error {
	rows, err := conn.Query(ctx, fmt.Sprintf(`select node, sum(balance)::text from %s group by 1`, pgx.Identifier{r.Namespace, "account"}.Sanitize()))
	if err != nil {
		return err
	}
	into.Sums = map[string]string{}
	var node, sum string
	_, err = pgx.ForEachRow(rows, []any{&node, &sum}, func() error { into.Sums[node] = sum; return nil })
	return err
}

// progress also finds what is disabled. An origin that has never replayed anything has
// no progress: that is 0/0.
func (r Reader) progress(ctx context.Context, conn *pgx.Conn, into *history.Server) error {
	rows, err := conn.Query(ctx, `select s.subname::text, s.subenabled, coalesce(o.remote_lsn, '0/0')::text
		from pg_subscription s left join pg_replication_origin_status o on o.external_id = 'pg_' || s.oid
		where s.subdbid = (select oid from pg_database where datname = current_database()) order by 1`)
	if err != nil {
		return err
	}
	var name, lsn string
	var enabled bool
	_, err = pgx.ForEachRow(rows, []any{&name, &enabled, &lsn}, func() (err error) {
		provider := r.Provider(into.Node, name)
		if provider == "" {
			return nil
		}
		if !enabled {
			into.Left.Disabled = append(into.Left.Disabled, provider)
		}
		into.Progress[provider], err = topology.ParseLSN(lsn)
		return err
	})
	return err
}

// slots finds those of Healer's that are no recovery slot of a configured peer.
func (r Reader) slots(ctx context.Context, conn *pgx.Conn, into *history.Server) error {
	database := conn.Config().Database
	var kept []string
	for _, n := range r.Nodes {
		kept = append(kept, topology.RecoverySlotName(database, into.Node, n), topology.SeedSlotName(database, into.Node, n),
			topology.MeshSlotName(database, into.Node, n))
	}
	all, err := column(ctx, conn, `select slot_name::text from pg_replication_slots
		where starts_with(slot_name, 'healer') or slot_name like 'spock\_%\_recovery\_%' order by 1`)
	for _, name := range all {
		if !slices.Contains(kept, name) {
			into.Left.Slots = append(into.Left.Slots, name)
		}
	}
	return err
}

func (r Reader) marks(ctx context.Context, conn *pgx.Conn, into *history.Server) error {
	all, err := column(ctx, conn, `select roname::text from pg_replication_origin where starts_with(roname, 'healer:') order by 1`)
	for _, name := range all {
		if f, ok := mark.ParseFence(conn.Config().Database, name); ok {
			into.Left.Fences = append(into.Left.Fences, f.Fence.Origin)
		} else if !strings.HasPrefix(name, mark.Repair("")) {
			into.Left.Marks = append(into.Left.Marks, name)
		}
	}
	return err
}

// locks are those of recoveries: the short ones, under which marks are changed, end with
// their transactions, and others are not Healer's.
func (r Reader) locks(ctx context.Context, conn *pgx.Conn, into *history.Server) error {
	keys := make([]int64, len(r.Nodes))
	for i, n := range r.Nodes {
		keys[i] = topology.RecoveryLock(n)
	}
	var err error
	into.Left.Locks, err = column(ctx, conn, `select format('of the recovery of %s, held by %s', k.node, l.pid) from pg_locks l
		join unnest($1::text[], $2::bigint[]) k(node, key) on (l.classid::bigint << 32) | l.objid::bigint = k.key
		where l.locktype = 'advisory' and l.granted and l.objsubid = 1
		and l.database = (select oid from pg_database where datname = current_database()) order by 1`, r.Nodes, keys)
	if err != nil {
		return err
	}
	into.Left.Prepared, err = column(ctx, conn, `select gid from pg_prepared_xacts where database = current_database() order by 1`)
	return err
}

func column(ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
