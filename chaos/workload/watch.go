package workload

import (
	"context"

	"github.com/jackc/pgx/v5"

	"healer/chaos/snapshot"
)

// sample reads a server again and again: for the board, and for the record.
func (w *Workload) sample(ctx context.Context, n Node) {
	s := snapshot.Sampler{
		Node: n.Name, Nodes: w.opts.names(), Clients: w.opts.Clients, Journal: Namespace + ".entries", Start: w.opts.Start,
	}
	var conn *pgx.Conn
	end := func() {
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
				w.board.observe(got)
				w.mu.Lock()
				w.samples = append(w.samples, got)
				w.mu.Unlock()
			}
		}
		cancel()
		if err != nil {
			end()
		}
	}
}
