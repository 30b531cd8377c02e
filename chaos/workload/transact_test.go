package workload

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"healer/chaos/history"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// A transaction whose time is over between two statements leaves no session behind in
// which the next COMMIT would be for it as well.
func TestTransactionThatRunsOutOfTime(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, localpg.ServerOptions{})
	if _, err := server.Exec(t.Context(), "create table t (i int)"); err != nil {
		t.Fatal(err)
	}
	for name, late := range map[string]struct {
		fails   bool
		prepare bool
		want    history.Outcome
	}{
		"in its body":         {fails: true, want: history.Failed},
		"before its COMMIT":   {want: history.Unknown},
		"before it was ready": {prepare: true, want: history.Unknown},
	} {
		conn, err := pgx.Connect(t.Context(), server.DSN())
		if err != nil {
			t.Fatal(err)
		}
		ctx, over := context.WithCancel(t.Context())
		tx := transaction{conn: conn, prepare: late.prepare}
		got, err := tx.perform(ctx, func(ctx context.Context, tx *transaction) error {
			_, err := tx.exec(ctx, "insert into t values (1)")
			over()
			if late.fails && err == nil {
				_, err = tx.exec(ctx, "insert into t values (2)")
			}
			return err
		})
		if got != late.want || err == nil {
			t.Errorf("%s: %v, %v; want %v", name, got, err, late.want)
		}
		if !conn.IsClosed() {
			t.Errorf("%s: the session goes on, with the transaction open", name)
			_ = conn.Close(t.Context())
		}
	}
}
