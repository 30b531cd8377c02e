package postgres

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// rule is what an SQLSTATE means for whoever met it.
type rule struct {
	class topology.Class
	hint  string
}

// states is the one table of SQLSTATEs. A state of five characters wins over
// its class of two. What is in neither is permanent: an error nobody has
// thought about is not tried again blindly.
func states() map[string]rule {
	const (
		permanent = topology.Permanent
		transient = topology.Transient
		conflict  = topology.Conflict
	)
	return map[string]rule{
		// The server cannot be reached, is starting, or is going.
		"08":    {transient, ""},
		"57P01": {transient, "the server is shutting down or ended the session"},
		"57P02": {transient, "the server restarts after a crash"},
		"57P03": {transient, "the server is starting up or shutting down"},
		"57P05": {transient, "the server closed an idle session"},
		"57014": {transient, "the statement was cancelled or took longer than statement_timeout"},
		"25P03": {transient, "the transaction was idle for too long"},
		"25P04": {transient, "the transaction took too long"},

		// Out of something.
		"53":    {transient, "the server is short of a resource"},
		"53100": {transient, "free disk space on the server"},
		"53300": {transient, "raise max_connections, or max_wal_senders for replication"},
		"53400": {permanent, "raise max_replication_slots (max_active_replication_origins from 18 on)"},

		// Somebody else was faster.
		"40":    {transient, ""},
		"40001": {transient, ""},
		"40P01": {transient, ""},
		"55006": {transient, "a session holds the object: a slot's walsender, or an origin's apply worker"},
		"55P03": {transient, "another session holds the lock"},
		"23505": {conflict, ""},
		"42710": {conflict, "the object exists already"},

		// What somebody must put right.
		"28":    {permanent, "check user, password and pg_hba.conf"},
		"28000": {permanent, "check pg_hba.conf, and that the role exists and may log in"},
		"28P01": {permanent, "check the password in the dsn, PGPASSWORD or the password file"},
		"3D000": {permanent, "check dbname in the dsn"},
		"42501": {permanent, "GRANT what the message names to Healer's role; `healer doctor` prints the statements"},
		"42704": {permanent, "the object does not exist (any more)"},
		"42883": {permanent, "the function does not exist: PostgreSQL 16 or newer is needed"},
		"42P01": {permanent, "the relation does not exist"},
		"55000": {permanent, "the object is not in the state this needs: an invalidated slot, or wal_level below logical"},
		"58P01": {permanent, "a file is gone: WAL that a slot needs has been removed"},
		"0A000": {permanent, "this server cannot do that"},
		"22023": {permanent, ""},
		"XX000": {permanent, "see the server's log"},
		"XX001": {permanent, "data is corrupted: see the server's log"},
		"XX002": {permanent, "an index is corrupted: see the server's log"},
	}
}

// Wrap makes a *topology.Fault of an error of a server or of the way to it:
// the SQLSTATE, or "network", is its code. An error of a context (the
// caller's wish) and an error that is a Fault already are returned as they
// are; nil stays nil.
func Wrap(node string, err error) error {
	var fault *topology.Fault
	var pg *pgconn.PgError
	switch {
	case err == nil, errors.As(err, &fault):
		return err
	case errors.As(err, &pg):
		r := ruleOf(pg.Code)
		return &topology.Fault{Class: r.class, Code: pg.Code, Node: node, Hint: r.hint, Err: err}
	case errors.Is(err, context.Canceled):
		return err
	case lost(err):
		return &topology.Fault{
			Class: topology.Transient, Code: "network", Node: node,
			Hint: "check that the server runs and can be reached", Err: err,
		}
	case errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		return &topology.Fault{Class: topology.Permanent, Code: "client", Node: node, Err: err}
	}
}

func ruleOf(code string) rule {
	table := states()
	if r, ok := table[code]; ok {
		return r
	}
	if len(code) == 5 {
		if r, ok := table[code[:2]]; ok {
			return r
		}
	}
	return rule{class: topology.Permanent}
}

// lost reports that the connection could not be made or broke. The deadline of
// an attempt to connect is one of these: it is the DSN's, not the caller's.
func lost(err error) bool {
	var netErr net.Error
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed) {
		return true
	}
	return errors.As(err, &netErr) && !errors.Is(err, context.DeadlineExceeded)
}

// interrupted reports that err is how a statement ends whose context ended.
func interrupted(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "57014"
	}
	return lost(err) || pgconn.Timeout(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Is reports whether err carries one of these codes: SQLSTATEs or "network".
func Is(err error, codes ...string) bool {
	var fault *topology.Fault
	if !errors.As(err, &fault) {
		return false
	}
	for _, c := range codes {
		if fault.Code == c {
			return true
		}
	}
	return false
}
