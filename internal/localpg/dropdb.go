package localpg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DropDatabase drops a database with all that would forbid it: its sessions,
// its subscriptions and its replication slots. A remote consumer of a slot that
// always comes back is waited for until the context ends.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	if err := s.dropDatabase(ctx, name); err != nil {
		return fmt.Errorf("%s: drop database %s: %w", s.Name(), name, err)
	}
	return nil
}

func (s *Server) dropDatabase(ctx context.Context, name string) error {
	admin, err := connect(ctx, s.DSNFor(superuser))
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	if err := dropSubscriptions(ctx, admin, s.DSNFor(name), name); err != nil {
		return err
	}
	if err := dropSlots(ctx, admin, name); err != nil {
		return err
	}
	_, err = admin.Exec(ctx, "drop database if exists "+pgx.Identifier{name}.Sanitize()+" with (force)")
	return err
}

// dropSlots drops the slots that nobody uses and ends who uses the others, until
// there are none.
func dropSlots(ctx context.Context, admin *pgx.Conn, database string) error {
	for {
		const end = `
			select pg_terminate_backend(active_pid) from pg_replication_slots
			where database = $1 and active`
		if _, err := admin.Exec(ctx, end, database); err != nil {
			return err
		}
		const drop = `
			select pg_drop_replication_slot(slot_name) from pg_replication_slots
			where database = $1 and not active`
		if _, err := admin.Exec(ctx, drop, database); err != nil {
			return err
		}
		var left int
		const count = `select count(*) from pg_replication_slots where database = $1`
		if err := admin.QueryRow(ctx, count, database).Scan(&left); err != nil || left == 0 {
			return err
		}
		if err := pause(ctx, poll); err != nil {
			return err
		}
	}
}

// dropSubscriptions drops a database's subscriptions and leaves their slots to
// whoever has them.
func dropSubscriptions(ctx context.Context, admin *pgx.Conn, dsn, database string) error {
	const list = `
		select subname from pg_subscription s join pg_database d on d.oid = s.subdbid
		where d.datname = $1`
	rows, err := admin.Query(ctx, list, database)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return err
	}
	conn, err := connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, name := range names {
		quoted := pgx.Identifier{name}.Sanitize()
		// Without its slot's name a subscription is dropped without asking the
		// publisher, who may be gone.
		for _, sql := range []string{
			"alter subscription " + quoted + " disable",
			"alter subscription " + quoted + " set (slot_name = none)",
			"drop subscription " + quoted,
		} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
	}
	return nil
}
