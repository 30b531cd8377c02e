package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"healer/postgres"
	"healer/topology"
)

// Table is a table to copy.
type Table struct {
	topology.TableName
	// Columns are those to copy; nil means all that the source stores.
	Columns []string
	// Filter is a condition on the rows; empty means all.
	Filter string
}

// Options say what is copied.
type Options struct {
	From, To *postgres.Server
	// Snapshot was exported on From and is held by the caller.
	Snapshot string
	Tables   []Table
	// Jobs is how many tables are copied at once; at least 1.
	Jobs int
	// Done is told of each table that is there, one call at a time.
	Done func(t Table, rows int64)
	// Moved is told how many more rows are on their way, by several goroutines at a
	// time; may be nil.
	Moved func(rows int64)
}

// counted counts the rows of a COPY: in its text form each ends with a line feed, and none
// has another.
type counted struct {
	io.Writer
	moved func(rows int64)
}

// Write implements io.Writer.
func (c counted) Write(p []byte) (int, error) {
	if n := bytes.Count(p, []byte("\n")); n > 0 && c.moved != nil {
		c.moved(int64(n))
	}
	return c.Writer.Write(p)
}

// Run copies the tables. It calls taken once the snapshot is not needed any more
// from its exporter. The rows have the oldest commit timestamp there is: whoever
// wrote a row later than that has written it later than the copy.
func Run(ctx context.Context, o Options, taken func()) (rows int64, err error) {
	jobs := max(1, min(o.Jobs, len(o.Tables)))
	pairs := make([]*pair, jobs)
	defer func() {
		for i, p := range pairs {
			if p != nil {
				err = errors.Join(err, p.close(context.WithoutCancel(ctx), o.To, i))
			}
		}
	}()
	for i := range pairs {
		if pairs[i], err = open(ctx, o, i); err != nil {
			return 0, err
		}
	}
	taken()
	var next, total atomic.Int64
	var telling sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range pairs {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(o.Tables) {
					return nil
				}
				n, err := p.copy(ctx, o.Tables[i], o.Moved)
				if err != nil {
					return fmt.Errorf("copy %s: %w", o.Tables[i].TableName, err)
				}
				total.Add(n)
				telling.Lock()
				o.Done(o.Tables[i], n)
				telling.Unlock()
			}
		})
	}
	err = group.Wait()
	return total.Load(), err
}

// pair is a session on either server.
type pair struct {
	from, to *pgconn.PgConn
	name     [2]string
}

// origin names the origin of a job's rows.
func origin(s *postgres.Server, job int) string {
	return fmt.Sprintf("healer:copy:%s:%d", s.Database(), job)
}

// sameText makes the text of values the same on both servers.
const sameText = `SET datestyle = ISO; SET intervalstyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex;
	SET lc_monetary = 'C'; SET timezone = UTC; SET client_encoding = UTF8; SET row_security = off; SET search_path = ''`

// open connects a job, which takes the snapshot and its origin.
func open(ctx context.Context, o Options, job int) (_ *pair, err error) {
	p := &pair{name: [2]string{o.From.Name(), o.To.Name()}}
	defer func() {
		if err != nil {
			p.hangup()
		}
	}()
	if p.from, err = o.From.Session(ctx); err != nil {
		return nil, err
	}
	if p.to, err = o.To.Session(ctx); err != nil {
		return nil, err
	}
	err = run(ctx, p.from, sameText+`; BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT `+literal(o.Snapshot))
	if err != nil {
		return nil, postgres.Wrap(o.From.Name(), err)
	}
	name := literal(origin(o.To, job))
	err = run(ctx, p.to, sameText+`; SET session_replication_role = replica; SET synchronous_commit = on;
		SELECT CASE WHEN pg_replication_origin_oid(`+name+`) IS NULL THEN pg_replication_origin_create(`+name+`) END;
		SELECT pg_replication_origin_session_setup(`+name+`)`)
	return p, postgres.Wrap(o.To.Name(), err)
}

// close ends a job's sessions and drops its origin.
func (p *pair) close(ctx context.Context, to *postgres.Server, job int) error {
	p.hangup()
	return dropOrigin(ctx, to, origin(to, job))
}

func (p *pair) hangup() {
	for _, c := range []*pgconn.PgConn{p.from, p.to} {
		if c != nil {
			postgres.Hangup(c)
		}
	}
}

// dropLimit bounds the wait for a session to have given its origin back.
const dropLimit = 10 * time.Second

// dropOrigin drops an origin as soon as no session holds it any more.
func dropOrigin(ctx context.Context, s *postgres.Server, name string) error {
	ctx, cancel := context.WithTimeout(ctx, dropLimit)
	defer cancel()
	for {
		err := s.Exec(ctx, "SELECT pg_replication_origin_drop($1) FROM pg_replication_origin WHERE roname = $1", name)
		if !postgres.Is(err, "55006") {
			return err
		}
		if postgres.Pause(ctx, 20*time.Millisecond) != nil {
			return err
		}
	}
}

// copy copies one table in one transaction.
func (p *pair) copy(ctx context.Context, t Table, moved func(int64)) (int64, error) {
	columns, partitioned, err := stored(ctx, p.from, t.TableName)
	if err != nil {
		return 0, postgres.Wrap(p.name[0], err)
	}
	if t.Columns != nil {
		columns = t.Columns
	}
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = postgres.Ident(c)
	}
	list, name := strings.Join(quoted, ", "), postgres.Ident(t.Schema)+"."+postgres.Ident(t.Name)
	only, where := "ONLY ", "" // the children of a table by inheritance are tables themselves
	if partitioned {
		only = ""
	}
	if t.Filter != "" {
		where = " WHERE " + t.Filter
	}
	if err := run(ctx, p.to, "BEGIN; SELECT pg_replication_origin_xact_setup('0/1', '2000-01-01 00:00:01+00')"); err != nil {
		return 0, postgres.Wrap(p.name[1], err)
	}
	n, err := p.pipe(ctx, "COPY (SELECT "+list+" FROM "+only+name+where+") TO STDOUT", "COPY "+name+" ("+list+") FROM STDIN", moved)
	if err != nil {
		return 0, err
	}
	return n, postgres.Wrap(p.name[1], run(ctx, p.to, "COMMIT"))
}

// pipe runs both sides of a COPY.
func (p *pair) pipe(ctx context.Context, out, in string, moved func(int64)) (int64, error) {
	r, w := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := p.from.CopyTo(ctx, counted{w, moved}, out)
		_ = w.CloseWithError(err)
		return postgres.Wrap(p.name[0], err)
	})
	var rows int64
	group.Go(func() error {
		tag, err := p.to.CopyFrom(ctx, r, in)
		_ = r.CloseWithError(err)
		rows = tag.RowsAffected()
		return postgres.Wrap(p.name[1], err)
	})
	err := group.Wait()
	return rows, err
}

// stored lists the columns of a table that are stored and not generated, and
// tells whether it is partitioned.
func stored(ctx context.Context, conn *pgconn.PgConn, t topology.TableName) (names []string, partitioned bool, err error) {
	res := conn.ExecParams(ctx, `SELECT a.attname, c.relkind = 'p' FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		ORDER BY a.attnum`, [][]byte{[]byte(t.Schema), []byte(t.Name)}, nil, nil, nil).Read()
	for _, row := range res.Rows {
		names, partitioned = append(names, string(row[0])), string(row[1]) == "t"
	}
	return names, partitioned, res.Err
}

func run(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	return conn.Exec(ctx, sql).Close()
}

// literal quotes a string constant without backslashes.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
