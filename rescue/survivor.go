package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"healer/topology"
)

// survivor is a peer with what Verify knows of it.
type survivor struct {
	node    string
	conn    *pgconn.PgConn
	names   map[string]string
	authors map[uint32]string
	tables  []topology.TableName
	apart   bool
	// acting is the author under whose repair origin the session writes.
	acting string
	// prepared are the session's statements by their text.
	prepared map[string]*pgconn.StatementDescription
}

func openSurvivor(ctx context.Context, p Peer) (*survivor, error) {
	s := &survivor{node: p.Node, conn: p.Conn, names: p.Authors, tables: p.Tables, apart: p.Apart}
	// Joins against a list of keys are lookups, whatever the statistics say.
	settings := append(writerSettings(), setting{"enable_hashjoin", "off"}, setting{"enable_mergejoin", "off"})
	if err := configure(ctx, s.conn, settings); err != nil {
		return nil, s.wrap(err)
	}
	return s, s.readAuthors(ctx)
}

// join opens the survivors, in the order of their names: decisions must not depend on
// the one in which the caller lists them. Whoever calls it calls release as well.
func (v *verifier) join(ctx context.Context, peers []Peer) error {
	for _, p := range peers {
		s, err := openSurvivor(ctx, p)
		if err != nil {
			return err
		}
		v.survivors = append(v.survivors, s)
	}
	slices.SortFunc(v.survivors, func(a, b *survivor) int { return strings.Compare(a.node, b.node) })
	return nil
}

// named is the survivor of that name; nil when it is none.
func (v *verifier) named(node string) *survivor {
	i := slices.IndexFunc(v.survivors, func(s *survivor) bool { return s.node == node })
	if i < 0 {
		return nil
	}
	return v.survivors[i]
}

func (s *survivor) readAuthors(ctx context.Context) error {
	authors, err := readAuthors(ctx, s.conn, s.node, s.names)
	if err != nil {
		return s.wrap(err)
	}
	s.authors = authors
	return nil
}

func (s *survivor) wrap(err error) error { return fmt.Errorf("compare on %s: %w", s.node, err) }

// open reads a table's definition on all survivors that replicate it; columns are
// those that identify its rows.
func (v *verifier) open(ctx context.Context, name topology.TableName, columns []string) (*compared, error) {
	t := &compared{name: name, report: VerifyTable{Table: name.String()}}
	touched := v.touched.tables[name]
	t.whole = touched != nil && touched.whole
	stop := func(node, code, hint string) error {
		return &topology.Fault{
			Class: topology.Permanent, Code: code, Node: node, Hint: hint,
			Err: fmt.Errorf("table %s cannot be compared", name),
		}
	}
	for _, s := range v.survivors {
		if s.tables != nil && !slices.Contains(s.tables, name) {
			continue
		}
		tab, err := readTable(ctx, s.conn, name)
		if err != nil {
			return nil, s.wrap(err)
		}
		if tab == nil {
			return nil, stop(s.node, "table_missing", "create the table as it is on the other nodes")
		}
		key := tab.keyOn(columns)
		if t.whole {
			key = tab.rowOf(columns)
		}
		if key == nil {
			return nil, stop(s.node, "key_differs", "give the table the same primary key on every node")
		}
		t.on = append(t.on, &replica{survivor: s, tab: tab, key: key})
		t.names = append(t.names, s.node)
	}
	t.columns = commonColumns(t.on)
	if touched != nil && touched.sent != nil {
		// What a column list leaves out is each node's own.
		t.columns = slices.DeleteFunc(t.columns, func(c string) bool { return !slices.Contains(touched.sent, c) })
	}
	return t, nil
}

// keyOn returns the unique index on just these columns, in their order.
func (t *table) keyOn(columns []string) []keyColumn {
	for _, k := range t.keys {
		names := make([]string, len(k.columns))
		for i, c := range k.columns {
			names[i] = c.name
		}
		if order := permutation(columns, names); order != nil {
			out := make([]keyColumn, len(order))
			for i, j := range order {
				out[i] = k.columns[j]
			}
			return out
		}
	}
	return nil
}

// commonColumns lists, sorted, the columns that every replica stores.
func commonColumns(on []*replica) []string {
	count := map[string]int{}
	for _, r := range on {
		for _, c := range r.tab.columns {
			if !c.generated {
				count[c.name]++
			}
		}
	}
	var out []string
	for name, n := range count {
		if n == len(on) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// read takes the versions of the rows on all replicas, which are read at the same
// time.
func (v *verifier) read(ctx context.Context, t *compared, batch []*suspect) error {
	if len(batch) == 0 || len(t.on) == 0 {
		return nil
	}
	keys := make([]Key, len(batch))
	for i, s := range batch {
		keys[i] = s.key
		s.versions = make([]version, len(t.on))
		if s.seen == nil {
			s.seen = make([]stamp, len(t.on))
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for at, r := range t.on {
		g.Go(func() error {
			read := r.versions
			if t.whole {
				read = r.copies
			}
			return read(ctx, t.columns, keys, func(i int, found version) {
				s := batch[i]
				s.versions[at] = found
				if s.seen[at] == (stamp{}) || found.stamp.after(s.seen[at]) {
					s.seen[at] = found.stamp
				}
			})
		})
	}
	return g.Wait()
}

// versionsQuery selects the version of each row that is there.
func (r *replica) versionsQuery(columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = "t." + quoteIdent(c)
	}
	return `SELECT k.i, t.xmin::text,
 (extract(epoch FROM pg_catalog.pg_xact_commit_timestamp(t.xmin)) * 1000000 - 946684800000000)::bigint,
 (pg_catalog.pg_xact_commit_timestamp_origin(t.xmin)).roident,
 encode(sha256(convert_to(ROW(` + strings.Join(quoted, ", ") + `)::text, 'UTF8')), 'hex')
FROM ` + joinKeys(r.tab, r.key)
}

func (r *replica) versions(ctx context.Context, columns []string, keys []Key, found func(int, version)) error {
	got, err := rows(ctx, r.conn, r.versionsQuery(columns), keyArrays(keys)...)
	if err != nil {
		return r.wrap(fmt.Errorf("table %s: %w", r.tab.name, err))
	}
	for _, row := range got {
		i, err := strconv.Atoi(string(row[0]))
		if err != nil {
			return r.wrap(err)
		}
		v := version{
			present: true, xmin: string(row[1]), digest: string(row[4]),
			stamp: stamp{at: unknownTime},
		}
		if row[2] != nil {
			if v.stamp, err = r.stamp(row[2], row[3]); err != nil {
				return r.wrap(err)
			}
		}
		found(i-1, v)
	}
	return nil
}

// stamp reads a commit timestamp and the origin it was committed under.
func (s *survivor) stamp(at, origin []byte) (stamp, error) {
	micros, err := strconv.ParseInt(string(at), 10, 64)
	if err != nil {
		return stamp{}, err
	}
	id, err := strconv.ParseUint(string(origin), 10, 32)
	if err != nil {
		return stamp{}, err
	}
	return stamp{at: micros, author: s.authors[uint32(id)]}, nil
}

// act makes the session write under the repair origin of an author.
func (s *survivor) act(ctx context.Context, author string) error {
	if s.acting == author {
		return nil
	}
	if err := s.release(ctx); err != nil {
		return err
	}
	name := []byte(repairPrefix + author)
	if err := s.createOrigin(ctx, name); err != nil {
		return err
	}
	_, err := rows(ctx, s.conn, `SELECT pg_catalog.pg_replication_origin_session_setup($1)`, name)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55006" { // object_in_use
		return &topology.Fault{
			Class: topology.Conflict, Code: "lock_held", Node: s.node, Err: err,
			Hint: "another verification repairs the node; observe again",
		}
	}
	if err != nil {
		return s.wrap(err)
	}
	s.acting = author
	return nil
}

// createOrigin makes a repair origin where it is missing.
func (s *survivor) createOrigin(ctx context.Context, name []byte) error {
	_, err := rows(ctx, s.conn, `SELECT pg_catalog.pg_replication_origin_create($1)
WHERE pg_catalog.pg_replication_origin_oid($1) IS NULL`, name)
	var pg *pgconn.PgError
	if err != nil && (!errors.As(err, &pg) || (pg.Code != "42710" && pg.Code != "23505")) {
		return s.wrap(fmt.Errorf("create the repair origin: %w", err))
	}
	// Its id is needed to know the author of what it writes.
	return s.readAuthors(ctx)
}

// release gives the repair origin back.
func (s *survivor) release(ctx context.Context) error {
	if s.acting == "" || s.conn.IsClosed() {
		return nil
	}
	s.acting = ""
	if _, err := rows(ctx, s.conn, `SELECT pg_catalog.pg_replication_origin_session_reset()`); err != nil {
		return s.wrap(err)
	}
	return nil
}
