package compare

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/rescue"
	"healer/topology"
)

// relation is a table on one node, ready to be asked. Its methods render
// statements; what they select from is named t.
type relation struct {
	name    topology.TableName
	def     *definition
	columns []string
	key     []keyColumn
	filter  string
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// from names the table itself: those that inherit from it are tables of their own.
func (r *relation) from() string {
	name := quoteIdent(r.name.Schema) + "." + quoteIdent(r.name.Name) + " AS t"
	if r.def.Partitioned {
		return name
	}
	return "ONLY " + name
}

// columnList lists columns of t, each with a suffix.
func columnList(names []string, suffix string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "t." + quoteIdent(n) + suffix
	}
	return strings.Join(out, ", ")
}

func (r *relation) keyNames() []string {
	names := make([]string, len(r.key))
	for i, k := range r.key {
		names[i] = k.Name
	}
	return names
}

// digest is the SHA-256 of the row's text. Rows of other column types have the
// same digest when their values have the same text, as in logical replication.
func (r *relation) digest() string {
	return digestOf(columnList(r.columns, ""))
}

func digestOf(list string) string {
	return "pg_catalog.sha256(pg_catalog.convert_to(ROW(" + list + ")::text, 'UTF8'))"
}

// half is a part of 8 bytes of a digest as a bigint, big-endian. The cast of
// PostgreSQL 18 gives the same at half the cost.
func (r *relation) half(digest string, at int) string {
	part := fmt.Sprintf("pg_catalog.substr(%s, %d, 8)", digest, at)
	if r.def.Version >= 180000 {
		return part + "::bigint"
	}
	return "('x' || pg_catalog.encode(" + part + ", 'hex'))::bit(64)::bigint"
}

// sums are the columns of a sum over rows with the digest h.
func (r *relation) sums() string {
	return "pg_catalog.count(*), pg_catalog.sum(" + r.half("h", 1) + "), pg_catalog.sum(" + r.half("h", 9) + ")"
}

// where renders conditions, with the table's own filter.
func (r *relation) where(conds ...string) string {
	if r.filter != "" {
		conds = append(conds, "("+r.filter+")")
	}
	if len(conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conds, " AND ")
}

// inside is the condition of a segment, with its parameters from the first on.
func (r *relation) inside(s segment) (conds []string, params [][]byte) {
	bound := func(key rescue.Key, single, several string) {
		if key == nil {
			return
		}
		places := make([]string, len(key))
		for i, v := range key {
			params = append(params, []byte(v))
			// By way of text, so that the parameter's type is not inferred.
			places[i] = "$" + strconv.Itoa(len(params)) + "::text::" + r.key[i].Type
		}
		if len(key) == 1 {
			conds = append(conds, "t."+quoteIdent(r.key[0].Name)+" OPERATOR("+single+") "+places[0])
			return
		}
		conds = append(conds, "("+columnList(r.keyNames(), "")+") "+several+" ("+strings.Join(places, ", ")+")")
	}
	bound(s.after, r.key[0].Greater, ">")
	bound(s.upTo, r.key[0].AtMost, "<=")
	return conds, params
}

// order is the order of the key, as its index has it.
func (r *relation) order() string {
	if len(r.key) == 1 {
		return " ORDER BY t." + quoteIdent(r.key[0].Name) + " USING OPERATOR(" + r.key[0].Less + ")"
	}
	return " ORDER BY " + columnList(r.keyNames(), "")
}

// sumSQL sums a segment; counting stops one row behind full.
func (r *relation) sumSQL(s segment, full int64) (string, [][]byte) {
	conds, params := r.inside(s)
	return "SELECT " + r.sums() + " FROM (SELECT " + r.digest() + " AS h FROM " + r.from() + r.where(conds...) +
		fmt.Sprintf(" LIMIT %d) x", full+1), params
}

// boundSQL is the key of the step-th row of a segment.
func (r *relation) boundSQL(s segment, step int64) (string, [][]byte) {
	conds, params := r.inside(s)
	return "SELECT " + columnList(r.keyNames(), "::text") + " FROM " + r.from() + r.where(conds...) + r.order() +
		fmt.Sprintf(" OFFSET %d LIMIT 1", step-1), params
}

// rowsSQL lists a segment: the digest, then the key.
func (r *relation) rowsSQL(s segment) (string, [][]byte) {
	conds, params := r.inside(s)
	return "SELECT pg_catalog.encode(pg_catalog.substr(" + r.digest() + ", 1, 16), 'hex'), " +
		columnList(r.keyNames(), "::text") + " FROM " + r.from() + r.where(conds...), params
}

// session prepares a connection for reading. Text must be the same on all nodes,
// and no statement may run for long.
func session(ctx context.Context, conn *pgconn.PgConn, timeout time.Duration) error {
	settings := []string{
		"search_path = ''", "datestyle = 'ISO'", "intervalstyle = 'postgres'", "extra_float_digits = 3",
		"bytea_output = 'hex'", "xmloption = 'content'", "lc_monetary = 'C'", "timezone = 'UTC'", "client_encoding = 'UTF8'",
		"default_transaction_isolation = 'read committed'", "default_transaction_read_only = on",
		"application_name = 'healer verify'",
		// An error is better than rows that a policy hides.
		"row_security = off", "jit = off",
		fmt.Sprintf("statement_timeout = %d", timeout.Milliseconds()),
		fmt.Sprintf("lock_timeout = %d", timeout.Milliseconds()),
		"idle_in_transaction_session_timeout = 0",
		// Blocks are read by their bounds. Statistics from when the table was
		// empty must not turn each block into a scan of all of it.
		"enable_seqscan = off", "enable_bitmapscan = off",
		// The load is bounded by the number of sessions.
		"max_parallel_workers_per_gather = 0",
	}
	if err := conn.Exec(ctx, "SET "+strings.Join(settings, "; SET ")).Close(); err != nil {
		return fmt.Errorf("session settings: %w", err)
	}
	return nil
}

// query runs one statement and returns its result as text; NULL is a nil slice.
func query(ctx context.Context, conn *pgconn.PgConn, sql string, params ...[]byte) ([][][]byte, error) {
	res := conn.ExecParams(ctx, sql, params, nil, nil, nil).Read()
	return res.Rows, res.Err
}

// chunk is a range of pages of a table, or of each partition of it.
type chunk struct {
	first, behind int64
	// last chunks are open: the table may have grown.
	last bool
}

// chunks divides a table for a scan in the order of storage, so that a chunk has
// about so many rows.
func (d *definition) chunks(rows int64) []chunk {
	perPage := 20.0
	if d.Pages > 0 && d.Rows > 0 {
		perPage = d.Rows / float64(d.Pages)
	}
	step := max(int64(float64(rows)/perPage), 1)
	var out []chunk
	for at := int64(0); at+step < d.Pages; at += step {
		out = append(out, chunk{first: at, behind: at + step})
	}
	at := int64(len(out)) * step
	return append(out, chunk{first: at, last: true})
}

func (c chunk) conds() []string {
	out := []string{fmt.Sprintf("t.ctid >= '(%d,0)'", c.first)}
	if !c.last {
		out = append(out, fmt.Sprintf("t.ctid < '(%d,0)'", c.behind))
	}
	return out
}

// bucketOf is the expression of a row's bucket: by its key, or by all of it.
func (r *relation) bucketOf(n int) string {
	h := r.digest()
	if r.key != nil {
		h = digestOf(columnList(r.keyNames(), ""))
	}
	// The last bytes: the first ones are what is summed.
	return fmt.Sprintf("((pg_catalog.get_byte(%s, 30) << 8 | pg_catalog.get_byte(%s, 31)) & %d)", h, h, n-1)
}

// bucketsSQL sums the buckets of a chunk.
func (r *relation) bucketsSQL(c chunk, n int) string {
	return "SELECT b, " + r.sums() + " FROM (SELECT " + r.bucketOf(n) + " AS b, " + r.digest() + " AS h FROM " +
		r.from() + r.where(c.conds()...) + ") x GROUP BY b"
}

// membersSQL lists the rows of some buckets, the parameter: digest, then key.
func (r *relation) membersSQL(c chunk, n int) string {
	conds := append(c.conds(), r.bucketOf(n)+" = ANY ($1::int[])")
	return "SELECT pg_catalog.encode(pg_catalog.substr(" + r.digest() + ", 1, 16), 'hex'), " +
		columnList(r.keyNames(), "::text") + " FROM " + r.from() + r.where(conds...)
}

// shownRow is how many characters of a row without a key are shown.
const shownRow = 160

// copiesSQL counts the copies of each row: of those in some buckets, or, with n 0,
// of those with some digests. The sum of the xmin tells versions apart.
func (r *relation) copiesSQL(c chunk, n int) string {
	short := "pg_catalog.encode(pg_catalog.substr(" + r.digest() + ", 1, 16), 'hex')"
	which := short + " = ANY ($1::text[])"
	if n > 0 {
		which = r.bucketOf(n) + " = ANY ($1::int[])"
	}
	return "SELECT h, pg_catalog.count(*), pg_catalog.sum(v), pg_catalog.min(s) FROM (SELECT " + short + " AS h, t.xmin::text::bigint AS v, " +
		fmt.Sprintf("pg_catalog.left(ROW(%s)::text, %d) AS s", columnList(r.columns, ""), shownRow) +
		" FROM " + r.from() + r.where(append(c.conds(), which)...) + ") x GROUP BY h"
}
