package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"healer/topology"
)

// pollEvery is how often something is looked at that cannot be awaited in SQL.
const pollEvery = 20 * time.Millisecond

// Slots lists the logical slots of the server's database, sorted by name. Kind,
// To and Origin are left empty: they depend on the mesh.
func (s *Server) Slots(ctx context.Context) ([]topology.Slot, error) {
	var slots []topology.Slot
	err := s.JSON(ctx, &slots, "SELECT "+SlotsJSON)
	return slots, err
}

// SlotsJSON is the expression that Slots reads, for use in a larger query.
const SlotsJSON = `coalesce((
	SELECT jsonb_agg(jsonb_build_object(
		'name', slot_name, 'plugin', plugin, 'active', active,
		'confirmed', coalesce(confirmed_flush_lsn, '0/0'), 'restart', coalesce(restart_lsn, '0/0'),
		'wal_status', coalesce(wal_status, ''),
		'retained_bytes', coalesce(pg_wal_lsn_diff(
			CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
			restart_lsn)::bigint, 0)
	) ORDER BY slot_name)
	FROM pg_replication_slots
	WHERE slot_type = 'logical' AND database = current_database() AND NOT temporary
), '[]')`

// Slot returns one of Slots; false when there is none of that name.
func (s *Server) Slot(ctx context.Context, name string) (topology.Slot, bool, error) {
	slots, err := s.Slots(ctx)
	for _, slot := range slots {
		if slot.Name == name {
			return slot, true, nil
		}
	}
	return topology.Slot{}, false, err
}

// CreateSlot makes a persistent logical slot. The server waits for every
// running transaction meanwhile; when ctx ends first, no slot is left behind.
// SQLSTATE 42710 (a conflict) when the name is taken.
func (s *Server) CreateSlot(ctx context.Context, name, plugin string) error {
	return s.Slow(ctx, "SELECT pg_create_logical_replication_slot($1, $2)", []any{name, plugin})
}

// CopySlot makes dst a persistent copy of src with that plugin, whatever the plugin of
// src. SQLSTATE 42710 (a conflict) when dst is taken.
func (s *Server) CopySlot(ctx context.Context, src, dst, plugin string) error {
	return s.Slow(ctx, "SELECT pg_copy_logical_replication_slot($1, $2, false, $3)", []any{src, dst, plugin})
}

// AdvanceSlot moves a slot forward to lsn, or to the last flushed position
// before it, and returns where the slot then is. A slot that is further on
// stays there. The server decodes all WAL between: ctx bounds it. SQLSTATE
// 55006 (transient) when a session holds the slot.
func (s *Server) AdvanceSlot(ctx context.Context, name string, lsn topology.LSN) (topology.LSN, error) {
	slot, ok, err := s.Slot(ctx, name)
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return 0, noSlot(s.name, name)
	case slot.Confirmed >= lsn:
		return slot.Confirmed, nil
	}
	var end string
	err = s.Slow(ctx, "SELECT end_lsn::text FROM pg_replication_slot_advance($1, $2::pg_lsn)", []any{name, lsn.String()}, &end)
	if err != nil {
		return 0, err
	}
	return topology.ParseLSN(end)
}

// DropSlot drops a slot; one that is gone already is no error. While a session
// holds it, DropSlot waits; with terminate it ends that session, if it is one
// of Healer's own role and name. SQLSTATE 55006 (transient) when the slot was
// still held when ctx ended.
func (s *Server) DropSlot(ctx context.Context, name string, terminate bool) error {
	for {
		err := s.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name)
		if err == nil || Is(err, "42704") {
			return nil
		}
		if !Is(err, "55006") {
			return err
		}
		if terminate {
			if err := s.endHolder(ctx, name); err != nil {
				return err
			}
		}
		if waitErr := Pause(ctx, pollEvery); waitErr != nil {
			return err
		}
	}
}

// endHolder ends the session that holds the slot if it is Healer's own.
func (s *Server) endHolder(ctx context.Context, slot string) error {
	return s.Exec(ctx, `SELECT pg_terminate_backend(a.pid)
		FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid
		WHERE s.slot_name = $1 AND a.usename = current_user AND a.application_name = current_setting('application_name')`, slot)
}

// Pause waits for d, or returns ctx's error when that ends first.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func noSlot(node, name string) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "slot_missing", Node: node,
		Hint: "the keeper makes recovery slots anew; a node whose slot is gone may need a rebuild",
		Err:  fmt.Errorf("replication slot %q: %w", name, ErrNoSlot),
	}
}

// ErrNoSlot is in the chain of errors about a slot that does not exist.
var ErrNoSlot = errors.New("does not exist")
