package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// maxConns bounds the pool of one server: observation, keeper, barriers
	// and lanes side by side. What may wait without end has a connection of
	// its own, so that it never keeps them waiting.
	maxConns = 6
	// connectTimeout bounds one attempt where the DSN does not say.
	connectTimeout = 5 * time.Second
	// cancelGrace is how long a statement may take to end after its context
	// did, before its connection is given up.
	cancelGrace = time.Second
)

// sessionDefaults are settings of every session, unless the DSN sets them.
// The server's own keepalives are what ends a session, and with it the locks
// and origins it holds, after its agent's host vanished without a word.
func sessionDefaults() map[string]string {
	return map[string]string{
		"application_name":                    "healer",
		"statement_timeout":                   "30s",
		"idle_in_transaction_session_timeout": "60s",
		"client_connection_check_interval":    "2s",
		"tcp_keepalives_idle":                 "5",
		"tcp_keepalives_interval":             "2",
		"tcp_keepalives_count":                "3",
		"tcp_user_timeout":                    "15s",
		// What Healer reads must not depend on how a role or database is set.
		"search_path":        "pg_catalog",
		"datestyle":          "ISO",
		"timezone":           "UTC",
		"extra_float_digits": "3",
	}
}

// parse reads a DSN without connecting. Its errors never quote the DSN.
func parse(dsn string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, redact(dsn, err)
	}
	if cfg.ConnConfig.Database == "" {
		return nil, errors.New("it names no database: add dbname=NAME")
	}
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = maxConns, 0, 0
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // use does
	prepare(&cfg.ConnConfig.Config)
	// One round trip for each statement, and nothing cached that a change of
	// schema could make stale.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	return cfg, nil
}

func prepare(c *pgconn.Config) {
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = connectTimeout
	}
	for _, k := range libpqOnly() {
		delete(c.RuntimeParams, k)
	}
	for k, v := range sessionDefaults() {
		if _, ok := c.RuntimeParams[k]; !ok {
			c.RuntimeParams[k] = v
		}
	}
	c.DialFunc = newDialer(c.ConnectTimeout).DialContext
	c.BuildContextWatcherHandler = cancelStatement
}

// ErrUnwanted as the cause of a context's end says that nobody waits for the outcome of
// what only reads: the connection is given up at once.
var ErrUnwanted = errors.New("the answer is not wanted any more")

// cancelStatement asks the server to end the statement whose context ended and
// waits a moment for its outcome: it must not go on there unseen, waiting for a
// lock or making a slot. An answer that is unwanted is not waited for.
func cancelStatement(conn *pgconn.PgConn) ctxwatch.Handler {
	return &ending{
		waits:  &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelGrace},
		breaks: breakOff(conn),
	}
}

// ending ends a statement as the cause of its context's end wants it. A connection runs
// one statement at a time.
type ending struct {
	waits, breaks, chosen ctxwatch.Handler
}

// HandleCancel implements ctxwatch.Handler.
func (e *ending) HandleCancel(ctx context.Context) {
	e.chosen = e.waits
	if errors.Is(context.Cause(ctx), ErrUnwanted) {
		e.chosen = e.breaks
	}
	e.chosen.HandleCancel(ctx)
}

// HandleUnwatchAfterCancel implements ctxwatch.Handler.
func (e *ending) HandleUnwatchAfterCancel() { e.chosen.HandleUnwatchAfterCancel() }

// breakOff ends the connection with the context: a stream has no outcome to
// wait for.
func breakOff(conn *pgconn.PgConn) ctxwatch.Handler {
	return &pgconn.DeadlineContextWatcherHandler{Conn: conn.Conn()}
}

// libpqOnly are keywords of libpq that the driver would send to the server as
// settings, and that nothing here depends on.
func libpqOnly() []string {
	return []string{
		"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"fallback_application_name", "gssencmode", "gssdelegation", "gsslib", "sslcompression",
		"sslcrl", "sslcrldir", "requirepeer", "load_balance_hosts",
	}
}

// redact keeps of a parser's error only what quotes no value of the DSN. Where
// a malformed DSN's values begin and end is anyone's guess, so anything between
// delimiters counts as one.
func redact(dsn string, err error) error {
	reason := err.Error()
	if i := strings.LastIndex(reason, "`: "); i >= 0 {
		reason = reason[i+len("`: "):]
	}
	short, _, _ := strings.Cut(reason, " (")
	for _, r := range []string{reason, short} {
		if !quotes(r, dsn) {
			return errors.New(r)
		}
	}
	return errors.New("it is neither a URL nor a list of keyword=value pairs")
}

func quotes(text, dsn string) bool {
	values := strings.FieldsFunc(dsn, func(r rune) bool { return strings.ContainsRune(" \t\r\n=:@/?&'\"\\,", r) })
	for _, v := range values {
		if _, known := keywords()[v]; !known && strings.Contains(text, v) {
			return true
		}
	}
	return false
}

// keywords are the words of a DSN that are no values.
func keywords() map[string]struct{} {
	set := make(map[string]struct{})
	for _, k := range []string{
		"postgres", "postgresql", "host", "hostaddr", "port", "dbname", "database", "user", "password",
		"passfile", "connect_timeout", "sslmode", "sslcert", "sslkey", "sslrootcert", "application_name",
	} {
		set[k] = struct{}{}
	}
	return set
}

// Endpoint is what a connection string leads to: the first host, its port and
// the database.
type Endpoint struct {
	Host     string
	Port     uint16
	Database string
}

// String is host:port/database.
func (e Endpoint) String() string {
	return net.JoinHostPort(e.Host, fmt.Sprint(e.Port)) + "/" + e.Database
}

// ParseEndpoint reads a connection string such as pg_subscription.subconninfo.
// Its errors never quote the string.
func ParseEndpoint(conninfo string) (Endpoint, error) {
	cfg, err := pgconn.ParseConfig(conninfo)
	if err != nil {
		return Endpoint{}, redact(conninfo, err)
	}
	return Endpoint{Host: cfg.Host, Port: cfg.Port, Database: cfg.Database}, nil
}
