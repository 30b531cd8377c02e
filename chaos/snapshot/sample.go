package snapshot

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"healer/chaos/history"
	"healer/postgres/mark"
	"healer/topology"
)

// Sampler reads one server again and again.
type Sampler struct {
	// Node is the server's, Nodes are all nodes.
	Node  string
	Nodes []string
	// Clients is how many clients write on each node.
	Clients int
	// Journal is the table or view that has what they all write, as SQL.
	Journal string
	// Start is what the times count from.
	Start time.Time
}

const (
	slotsSQL = `select slot_name::text, coalesce(confirmed_flush_lsn, '0/0')::text from pg_replication_slots
		where database = current_database() and slot_type = 'logical'`
	seenSQL = `select n, c, coalesce((select max(j.sequence) from %s j where j.node = n and j.client = c), 0)
		from unnest($1::text[]) n, generate_series(0, $2::int - 1) c`
	restSQL = `select pg_current_wal_insert_lsn()::text,
		array(select roname::text from pg_replication_origin where starts_with(roname, 'healer:fence:')),
		array(select ((l.classid::bigint << 32) | l.objid::bigint)::text from pg_locks l left join pg_stat_activity a on a.pid = l.pid
			where l.locktype = 'advisory' and coalesce(a.application_name, '') <> '` + topology.RejoinSession + `' and l.granted and l.objsubid = 1
			and l.database = (select oid from pg_database where datname = current_database()) order by l.pid),
		array(select l.pid || ' ' || coalesce(extract(epoch from a.backend_start)::text, '') from pg_locks l left join pg_stat_activity a on a.pid = l.pid
			where l.locktype = 'advisory' and coalesce(a.application_name, '') <> '` + topology.RejoinSession + `' and l.granted and l.objsubid = 1
			and l.database = (select oid from pg_database where datname = current_database()) order by l.pid)`
)

// Read takes a sample. Each of its statements sees what was committed before it, in
// the order of the fields of history.Sample: the slots first, the end of the log last.
func (s Sampler) Read(ctx context.Context, conn *pgx.Conn) (history.Sample, error) {
	out := history.Sample{
		Node: s.Node, Asked: time.Since(s.Start),
		Seen: map[string]int64{}, Slots: map[string]topology.LSN{},
	}
	var b pgx.Batch
	b.Queue(slotsSQL).Query(func(rows pgx.Rows) error { return s.slots(rows, conn.Config().Database, out.Slots) })
	b.Queue(fmt.Sprintf(seenSQL, s.Journal), s.Nodes, s.Clients).Query(func(rows pgx.Rows) error { return seen(rows, out.Seen) })
	b.Queue(restSQL).QueryRow(func(row pgx.Row) error { return s.rest(row, conn.Config().Database, &out) })
	err := conn.SendBatch(ctx, &b).Close()
	out.At = time.Since(s.Start)
	if err != nil {
		return history.Sample{}, fmt.Errorf("sample of %s: %w", s.Node, err)
	}
	return out, nil
}

// slots keeps the recovery slots, under the node that each is kept for.
func (s Sampler) slots(rows pgx.Rows, database string, into map[string]topology.LSN) error {
	peers := map[string]string{}
	for _, n := range s.Nodes {
		if n != s.Node {
			peers[topology.RecoverySlotName(database, s.Node, n)] = n
		}
	}
	var name, confirmed string
	_, err := pgx.ForEachRow(rows, []any{&name, &confirmed}, func() (err error) {
		if peer, ok := peers[name]; ok {
			into[peer], err = topology.ParseLSN(confirmed)
		}
		return err
	})
	return err
}

func seen(rows pgx.Rows, into map[string]int64) error {
	var node string
	var client int
	var sequence int64
	_, err := pgx.ForEachRow(rows, []any{&node, &client, &sequence}, func() error {
		if sequence > 0 {
			into[history.ClientID(node, client)] = sequence
		}
		return nil
	})
	return err
}

func (s Sampler) rest(row pgx.Row, database string, into *history.Sample) error {
	var end string
	var marks, keys, sessions []string
	if err := row.Scan(&end, &marks, &keys, &sessions); err != nil {
		return err
	}
	for _, name := range marks {
		if f, ok := mark.ParseFence(database, name); ok {
			into.Fences = append(into.Fences, f.Fence.Origin)
		}
	}
	origins := map[string]string{}
	for _, n := range s.Nodes {
		origins[fmt.Sprint(topology.RecoveryLock(n))] = n
	}
	for i, key := range keys {
		if origin, ok := origins[key]; ok && i < len(sessions) {
			into.Appliers = append(into.Appliers, history.Applier{Origin: origin, Session: sessions[i]})
		}
	}
	var err error
	into.End, err = topology.ParseLSN(end)
	return err
}
