package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/rescue"
	"healer/topology"
)

// cluster is three servers: the lost node, which lives on here so that the
// laggard's own apply worker can read from it, the source and the laggard. There
// is no other subscription, so that nothing else works while a replay is timed.
type cluster struct {
	lost, source, laggard *localpg.Server
	// floor and watermark bound the gap, until is the source's log after it.
	floor, watermark, until topology.LSN
	sourceOrigin, origin    string
	seeded                  bool
	made                    int
	// cpu is what the last replay has used.
	cpu usage
}

const (
	subscription = "from_lost"
	publication  = "bench"
	// gapStart and recovery are slots at the beginning of the gap, on the lost
	// node and on the source; each replay reads a copy.
	gapStart = "gap_start"
	recovery = "recovery"
)

func newCluster(ctx context.Context, w workload, scale float64) (_ *cluster, err error) {
	c := &cluster{seeded: w.seed != ""}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	for _, s := range []struct {
		into **localpg.Server
		name string
	}{{&c.lost, "lost"}, {&c.source, "source"}, {&c.laggard, "laggard"}} {
		// Durable, as in production, and with room to work; no vacuum or
		// checkpoint in the middle of a measurement.
		*s.into, err = localpg.StartServer(ctx, localpg.ServerOptions{
			Name: s.name, Database: "app", Durable: true,
			Conf: map[string]string{
				"shared_buffers": "256MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h",
				"autovacuum": "off", "wal_sender_timeout": "60s", "wal_receiver_timeout": "60s",
			},
		})
		if err != nil {
			return nil, err
		}
		if err := exec(ctx, *s.into, w.schema+`; create table begun (id int primary key)`); err != nil {
			return nil, err
		}
	}
	return c, c.prepare(ctx, w, scale)
}

func (c *cluster) close() error {
	var errs []error
	for _, s := range []*localpg.Server{c.lost, c.source, c.laggard} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// prepare makes the gap: the source has it, the laggard has not.
func (c *cluster) prepare(ctx context.Context, w workload, scale float64) error {
	if err := exec(ctx, c.lost, "create publication "+publication+" for all tables"); err != nil {
		return err
	}
	if err := exec(ctx, c.source, "create publication "+publication+" for all tables"); err != nil {
		return err
	}
	for _, s := range []*localpg.Server{c.source, c.laggard} {
		slot := "to_" + s.Name()
		if err := exec(ctx, c.lost, "select pg_create_logical_replication_slot('"+slot+"', 'pgoutput')"); err != nil {
			return err
		}
		// All settings are PostgreSQL's defaults, synchronous_commit = off among them.
		if err := exec(ctx, s, fmt.Sprintf(`create subscription %s connection '%s' publication %s
			with (origin = none, copy_data = false, create_slot = false, slot_name = '%s')`,
			subscription, c.lost.DSN(), publication, slot)); err != nil {
			return err
		}
	}
	if w.seed != "" {
		if err := exec(ctx, c.lost, w.seed); err != nil {
			return err
		}
	}
	if err := c.mark(ctx); err != nil {
		return err
	}
	// Making the gap is not what is measured.
	if err := exec(ctx, c.lost, `alter database app set synchronous_commit = off`); err != nil {
		return err
	}
	if err := exec(ctx, c.lost, w.gap(w.scaled(scale))); err != nil {
		return err
	}
	return c.fence(ctx)
}

// mark notes where the gap begins.
func (c *cluster) mark(ctx context.Context) (err error) {
	// So that there is a progress even where nothing was seeded.
	if err := exec(ctx, c.lost, `insert into begun values (1)`); err != nil {
		return err
	}
	for _, s := range []*localpg.Server{c.source, c.laggard} {
		if err := await(ctx, func() (bool, error) {
			return localpg.Value[bool](ctx, s, `select exists (select from begun)`)
		}); err != nil {
			return err
		}
	}
	if err := c.disable(ctx, c.laggard); err != nil {
		return err
	}
	if c.origin, err = originOf(ctx, c.laggard); err != nil {
		return err
	}
	if c.sourceOrigin, err = originOf(ctx, c.source); err != nil {
		return err
	}
	if c.floor, err = progress(ctx, c.laggard, c.origin, false); err != nil {
		return err
	}
	if err := exec(ctx, c.laggard, `create table seed as select * from t`); err != nil {
		return err
	}
	if err := exec(ctx, c.lost, `select pg_copy_logical_replication_slot('to_laggard', '`+gapStart+`')`); err != nil {
		return err
	}
	return exec(ctx, c.source, `select pg_create_logical_replication_slot('`+recovery+`', 'pgoutput')`)
}

// fence waits until the source has the gap and ends its subscription.
func (c *cluster) fence(ctx context.Context) error {
	if err := exec(ctx, c.lost, `set synchronous_commit = on; insert into begun values (2)`); err != nil {
		return err
	}
	if err := await(ctx, func() (bool, error) {
		return localpg.Value[bool](ctx, c.source, `select exists (select from begun where id = 2)`)
	}); err != nil {
		return err
	}
	if err := c.disable(ctx, c.source); err != nil {
		return err
	}
	var err error
	if c.watermark, err = progress(ctx, c.source, c.sourceOrigin, true); err != nil {
		return err
	}
	if err := exec(ctx, c.source, `set synchronous_commit = on; select pg_logical_emit_message(true, 'bench', 'flush')`); err != nil {
		return err
	}
	text, err := localpg.Value[string](ctx, c.source, `select pg_current_wal_flush_lsn()::text`)
	if err != nil {
		return err
	}
	c.until, err = topology.ParseLSN(text)
	return err
}

func (c *cluster) disable(ctx context.Context, s *localpg.Server) error {
	if err := exec(ctx, s, `alter subscription `+subscription+` disable`); err != nil {
		return err
	}
	return await(ctx, func() (bool, error) {
		return localpg.Value[bool](ctx, s, `select not exists (select from pg_stat_subscription where pid is not null)`)
	})
}

// reset puts the laggard back to the beginning of the gap: its rows, as the lost
// node wrote them, and its progress.
func (c *cluster) reset(ctx context.Context) error {
	sql := fmt.Sprintf(`
		select pg_replication_origin_session_setup('%[1]s');
		begin;
		truncate t;
		insert into t select * from seed;
		delete from begun where id > 1;
		select pg_replication_origin_xact_setup('%[2]s', '2020-01-01');
		commit;
		select pg_replication_origin_session_reset();
		select pg_replication_origin_advance('%[1]s', '%[2]s')`, c.origin, c.floor)
	if err := execEach(ctx, c.laggard, sql); err != nil {
		return err
	}
	if err := execEach(ctx, c.laggard, `vacuum analyze t; checkpoint`); err != nil {
		return err
	}
	got, err := progress(ctx, c.laggard, c.origin, false)
	if err == nil && got != c.floor {
		err = fmt.Errorf("progress is %s after the reset, want %s", got, c.floor)
	}
	return err
}

// heal replays the gap with rescue, from the opening of its two connections until
// all of it is durable on the laggard.
func (c *cluster) heal(ctx context.Context, spill string) (time.Duration, rescue.Report, error) {
	c.made++
	clone := fmt.Sprintf("clone_%d_c", c.made)
	if err := exec(ctx, c.source, `select pg_copy_logical_replication_slot('`+recovery+`', '`+clone+`', false, 'pgoutput')`); err != nil {
		return 0, rescue.Report{}, err
	}
	begin := time.Now()
	report, err := c.replay(ctx, clone, spill)
	took := time.Since(begin)
	return took, report, errors.Join(err, await(ctx, func() (bool, error) {
		return exec(ctx, c.source, `select pg_drop_replication_slot('`+clone+`')`) == nil, nil
	}))
}

func (c *cluster) replay(ctx context.Context, clone, spill string) (report rescue.Report, err error) {
	conn, err := pgconn.Connect(ctx, c.laggard.DSN())
	if err != nil {
		return report, err
	}
	session, err := rescue.NewSession(ctx, conn, rescue.Target{
		Node: "laggard", Origin: "lost", OriginName: c.origin, Authors: map[string]string{c.origin: "lost"},
	})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, session.Close(ctx)) }()
	repl, err := pgconn.Connect(ctx, c.source.DSN()+" replication=database")
	if err != nil {
		return report, err
	}
	stream, err := rescue.OpenStream(ctx, repl, rescue.StreamOptions{
		Node: "source", Slot: clone, Publications: []string{publication}, Until: c.until,
	})
	if err != nil {
		return report, errors.Join(err, repl.Close(ctx))
	}
	defer func() { err = errors.Join(err, stream.Close(ctx)) }()
	before := ownCPU()
	defer func() {
		c.cpu = usage{Source: cpuOf(repl.PID()), Agent: ownCPU() - before, Laggard: cpuOf(conn.PID())}
	}()
	report, touched, err := rescue.Replay(ctx, session, stream, rescue.Gap{
		Origin: "lost", Source: "source", SourceOrigin: c.sourceOrigin, Floor: c.floor, Watermark: c.watermark,
		Tables:  []topology.TableName{{Schema: "public", Name: "t"}, {Schema: "public", Name: "begun"}},
		Authors: map[string]string{c.sourceOrigin: "lost"},
		Spill:   rescue.Spill{Dir: spill},
	})
	return report, errors.Join(err, touched.Close())
}

// resume replays the gap with the laggard's own apply worker, from the enabling
// of its subscription until all of it is durable.
func (c *cluster) resume(ctx context.Context) (time.Duration, error) {
	c.made++
	slot := fmt.Sprintf("native_%d_c", c.made)
	if err := exec(ctx, c.lost, `select pg_copy_logical_replication_slot('`+gapStart+`', '`+slot+`')`); err != nil {
		return 0, err
	}
	if err := exec(ctx, c.laggard, `alter subscription `+subscription+` set (slot_name = '`+slot+`')`); err != nil {
		return 0, err
	}
	conn, err := c.laggard.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	begin := time.Now()
	if _, err := conn.Exec(ctx, `alter subscription `+subscription+` enable`); err != nil {
		return 0, err
	}
	for _, flushed := range []bool{false, true} {
		if err := await(ctx, func() (done bool, err error) {
			err = conn.QueryRow(ctx, `select pg_replication_origin_progress($1, $2) >= $3::text::pg_lsn`,
				c.origin, flushed, c.watermark.String()).Scan(&done)
			return done, err
		}); err != nil {
			return 0, err
		}
	}
	took := time.Since(begin)
	if c.cpu, err = c.nativeCPU(ctx, slot); err != nil {
		return 0, err
	}
	if err := c.disable(ctx, c.laggard); err != nil {
		return 0, err
	}
	return took, await(ctx, func() (bool, error) {
		return exec(ctx, c.lost, `select pg_drop_replication_slot('`+slot+`')`) == nil, nil
	})
}

// check compares the laggard with the source, commit timestamps among it.
func (c *cluster) check(ctx context.Context) error {
	const digest = `select count(*) || ' ' || coalesce(sum(hashtextextended(t::text ||
		case when $1 then pg_xact_commit_timestamp(xmin)::text else '' end, 0)), 0) from t`
	want, err := localpg.Value[string](ctx, c.source, digest, !c.seeded)
	if err != nil {
		return err
	}
	got, err := localpg.Value[string](ctx, c.laggard, digest, !c.seeded)
	if err == nil && got != want {
		err = fmt.Errorf("the laggard has %s, the source %s", got, want)
	}
	return err
}

func exec(ctx context.Context, s *localpg.Server, sql string) error {
	_, err := s.Exec(ctx, sql)
	return err
}

// execEach runs statements one by one in one session.
func execEach(ctx context.Context, s *localpg.Server, sql string) error {
	conn, err := s.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, one := range statements(sql) {
		if _, err := conn.Exec(ctx, one, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", one, err)
		}
	}
	return nil
}

func originOf(ctx context.Context, s *localpg.Server) (string, error) {
	return localpg.Value[string](ctx, s, `select 'pg_' || oid from pg_subscription where subname = $1`, subscription)
}

func progress(ctx context.Context, s *localpg.Server, origin string, flush bool) (topology.LSN, error) {
	text, err := localpg.Value[string](ctx, s, `select coalesce(pg_replication_origin_progress($1, $2), '0/0')::text`, origin, flush)
	if err != nil {
		return 0, err
	}
	return topology.ParseLSN(text)
}

// await asks every few milliseconds until the condition holds.
func await(ctx context.Context, cond func() (bool, error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := cond(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
