package postgres

import (
	"context"

	"healer/topology"
)

// FlushedLSN is pg_current_wal_flush_lsn(). It fails on a standby.
func (s *Server) FlushedLSN(ctx context.Context) (topology.LSN, error) {
	return s.lsn(ctx, "SELECT to_jsonb(pg_current_wal_flush_lsn())")
}

// Flush makes the server flush all WAL written so far, asynchronous commits of
// apply workers included, and returns a flushed LSN behind all of it. Only
// flushed WAL is decoded. It commits a transaction that changes nothing.
func (s *Server) Flush(ctx context.Context) (topology.LSN, error) {
	// "local" waits for this server's disk, and not for a synchronous standby
	// that may be the very node that was lost.
	err := s.Tx(ctx, []string{"synchronous_commit = local"}, func(tx Tx) error {
		_, err := tx.Exec(ctx, "SELECT pg_logical_emit_message(true, 'healer', '')")
		return err
	})
	if err != nil {
		return 0, err
	}
	return s.FlushedLSN(ctx)
}

// Progress is the last commit LSN of the origin that was replayed here; 0 when
// none was. With flush it is first made sure that the replayed transactions
// are on disk: apply workers commit asynchronously. The error has SQLSTATE
// 42704 when there is no such origin.
func (s *Server) Progress(ctx context.Context, origin string, flush bool) (topology.LSN, error) {
	return s.lsn(ctx, "SELECT to_jsonb(coalesce(pg_replication_origin_progress($1, $2), '0/0'))", origin, flush)
}

// StandbySnapshot writes a snapshot of the running transactions to the log, so
// that logical slots can move their restart_lsn forward.
func (s *Server) StandbySnapshot(ctx context.Context) error {
	return s.Exec(ctx, "SELECT pg_log_standby_snapshot()")
}

func (s *Server) lsn(ctx context.Context, sql string, args ...any) (topology.LSN, error) {
	var lsn topology.LSN
	err := s.JSON(ctx, &lsn, sql, args...)
	return lsn, err
}
