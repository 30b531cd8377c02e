package postgres

import "context"

// failuresSQL has the name of each subscription of this database, and how often its apply
// worker has failed (pg_stat_subscription_stats, since 15). What it failed at is in the
// server's log only.
const failuresSQL = `SELECT coalesce(jsonb_object_agg(t.subname, t.apply_error_count), '{}')
	FROM pg_stat_subscription_stats t JOIN pg_subscription s ON s.oid = t.subid
	JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()`

// ApplyFailures is how often the apply worker of each subscription has failed so far. The
// server forgets it when it crashes.
func (s *Server) ApplyFailures(ctx context.Context) (map[string]int64, error) {
	var out map[string]int64
	err := s.JSON(ctx, &out, failuresSQL)
	return out, err
}
