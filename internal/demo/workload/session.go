package workload

import (
	"context"
	"time"

	"healer/internal/localpg"
)

// opLimit bounds one transaction: a writer must notice a dead server.
const opLimit = 5 * time.Second

// session runs transactions on a node until use returns, which it does after
// the first error. exec returns the rows that a transaction changed.
func session(ctx context.Context, on localpg.Connector, use func(exec execFunc) error) error {
	dial, cancel := context.WithTimeout(ctx, opLimit)
	defer cancel()
	conn, err := on.Connect(dial)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(end)
	}()
	return use(func(ctx context.Context, sql string) (int64, error) {
		ctx, cancel := context.WithTimeout(ctx, opLimit)
		defer cancel()
		results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		var rows int64
		for _, r := range results {
			rows += r.CommandTag.RowsAffected()
		}
		return rows, err
	})
}

type execFunc func(ctx context.Context, sql string) (rows int64, err error)

// retryPause is how long a writer waits before it connects again.
const retryPause = 20 * time.Millisecond

// pause waits, and reports false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
