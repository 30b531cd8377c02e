package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// Snapshot is a slot that was just made, with the state of the database from which
// on it has every change: what is committed up to At is in the snapshot, what
// comes later in the slot, and nothing in both.
type Snapshot struct {
	// Name is for SET TRANSACTION SNAPSHOT. It is good until Close.
	Name string
	At   topology.LSN
	conn *pgconn.PgConn
}

// Close ends the snapshot for transactions that have not taken it yet; the slot
// stays.
func (s *Snapshot) Close() { Hangup(s.conn) }

// CreateSlotSnapshot makes a persistent logical slot and exports its snapshot. The
// server waits for every running transaction meanwhile; when ctx ends first, no
// slot is left behind.
func (s *Server) CreateSlotSnapshot(ctx context.Context, name, plugin string) (*Snapshot, error) {
	conn, err := s.Replication(ctx)
	if err != nil {
		return nil, err
	}
	made, err := pglogrepl.CreateReplicationSlot(ctx, conn, name, plugin, pglogrepl.CreateReplicationSlotOptions{
		Mode: pglogrepl.LogicalReplication, SnapshotAction: "EXPORT_SNAPSHOT",
	})
	if err != nil {
		Hangup(conn)
		return nil, s.wrap(ctx, err)
	}
	at, err := topology.ParseLSN(made.ConsistentPoint)
	if err != nil {
		Hangup(conn)
		return nil, fmt.Errorf("%s: slot %s: %w", s.name, name, err)
	}
	return &Snapshot{Name: made.SnapshotName, At: at, conn: conn}, nil
}
