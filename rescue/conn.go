package rescue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// setting is a session's configuration parameter.
type setting struct{ name, value string }

// textSettings make the text form of every value the same on all servers; they
// are those of PostgreSQL's own logical replication, and what else its output
// functions depend on.
func textSettings() []setting {
	return []setting{
		{"search_path", ""},
		{"datestyle", "ISO"},
		{"intervalstyle", "postgres"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"},
		{"xmloption", "content"},
		{"lc_monetary", "C"},
		{"timezone", "UTC"},
		{"client_encoding", "UTF8"},
		{"statement_timeout", "0"},
	}
}

// writerSettings are those of a session that applies replicated changes.
func writerSettings() []setting {
	return append(textSettings(),
		// As an apply worker: no foreign keys, no ordinary triggers.
		setting{"session_replication_role", "replica"},
		setting{"default_transaction_isolation", "read committed"},
		setting{"default_transaction_read_only", "off"},
		setting{"default_transaction_deferrable", "off"},
		setting{"idle_in_transaction_session_timeout", "0"},
		setting{"lock_timeout", "0"},
		// An error is better than rows that a policy hides.
		setting{"row_security", "off"},
		// Rows are found by their key. A plan made while the table was empty
		// must not stay a sequential scan when it has grown.
		setting{"plan_cache_mode", "force_generic_plan"},
		setting{"enable_seqscan", "off"},
		setting{"jit", "off"},
	)
}

// configure sets session parameters, in one round trip, with the simple
// protocol: a walsender knows no other.
func configure(ctx context.Context, conn *pgconn.PgConn, settings []setting) error {
	var b strings.Builder
	for _, s := range settings {
		b.WriteString("SET " + s.name + " = " + quoteLiteral(s.value) + ";")
	}
	if err := conn.Exec(ctx, b.String()).Close(); err != nil {
		return fmt.Errorf("session settings: %w", err)
	}
	return nil
}

// rows runs one statement and returns its result as text; NULL is a nil slice.
func rows(ctx context.Context, conn *pgconn.PgConn, sql string, params ...[]byte) ([][][]byte, error) {
	res := conn.ExecParams(ctx, sql, params, nil, nil, nil).Read()
	return res.Rows, res.Err
}

// quoteIdent quotes an identifier.
func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteLiteral quotes a string constant; a backslash needs the E form whatever
// standard_conforming_strings says.
func quoteLiteral(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}

// textArray renders strings as PostgreSQL's text form of text[].
func textArray(values []string) []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for j := range len(v) {
			if v[j] == '"' || v[j] == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(v[j])
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return []byte(b.String())
}

// pgEpoch is the zero of PostgreSQL's timestamps.
func pgEpoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// timestamp renders microseconds since pgEpoch as a timestamptz.
func timestamp(micros int64) string {
	t := time.UnixMicro(pgEpoch().UnixMicro() + micros).UTC()
	return t.Format("2006-01-02 15:04:05.999999") + "+00"
}

// oidList renders numbers for an IN list; it is never empty.
func oidList(ids []uint32) string {
	if len(ids) == 0 {
		return "NULL"
	}
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(parts, ", ")
}
