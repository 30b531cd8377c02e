package workload

import (
	"context"

	"github.com/jackc/pgx/v5"

	"healer/chaos/history"
	"healer/chaos/snapshot"
)

// logSQL is how far the server's log has been written and flushed.
const logSQL = `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint`

// settling has samples until all that they show is flushed: apply workers commit
// asynchronously, and a server that is killed loses such commits, to receive them anew
// behind others' that were made after them. On the board nothing counts before.
type settling struct {
	sample  history.Sample
	written int64
	waits   bool
}

// shows takes in a sample behind which the log was written and flushed so far, and gives
// those that count now.
func (p *settling) shows(s history.Sample, written, flushed int64) (out []history.Sample) {
	if p.waits && p.written <= flushed {
		out = append(out, p.sample)
		p.waits = false
	}
	switch {
	case written <= flushed:
		out = append(out, s)
		p.waits = false
	case !p.waits:
		*p = settling{s, written, true}
	}
	return out
}

// sample reads a server again and again: for the board, and for the record.
func (w *Workload) sample(ctx context.Context, n Node) {
	s := snapshot.Sampler{
		Node: n.Name, Nodes: w.opts.names(), Clients: w.opts.Clients, Journal: Namespace + ".entries", Start: w.opts.Start,
	}
	var conn *pgx.Conn
	var unflushed settling
	end := func() {
		unflushed = settling{}
		if conn != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.opts.OpLimit)
			defer cancel()
			_ = conn.Close(ctx)
			conn = nil
		}
	}
	defer end()
	for pause(ctx, w.opts.Sampling) {
		limit, cancel := context.WithTimeout(ctx, w.opts.OpLimit)
		var err error
		if conn == nil {
			conn, err = n.On.Connect(limit)
		}
		if err == nil {
			got, rerr := s.Read(limit, conn)
			if err = rerr; err == nil {
				w.mu.Lock()
				w.samples = append(w.samples, got)
				w.mu.Unlock()
				var written, flushed int64
				if err = conn.QueryRow(limit, logSQL).Scan(&written, &flushed); err == nil {
					for _, s := range unflushed.shows(got, written, flushed) {
						w.board.observe(s)
					}
				}
			}
		}
		cancel()
		if err != nil {
			end()
		}
	}
}
