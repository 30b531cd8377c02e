package steps

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/planner"
	"healer/postgres"
	"healer/topology"
)

// filtering is an engine whose lost nodes do not send all rows.
type filtering struct{ Engine }

func (filtering) Filters(context.Context, string, string, string) (map[topology.TableName]string, error) {
	return map[topology.TableName]string{{Schema: "public", Name: "t"}: "id > 0"}, nil
}

// ended is a server whose sessions have ended.
type ended struct{ Server }

func (e ended) Session(ctx context.Context) (*pgconn.PgConn, error) {
	conn, err := e.Server.Session(ctx)
	if err != nil {
		return nil, err
	}
	return conn, conn.Close(ctx)
}

// A filter that cannot be asked is no filter that lets everything pass.
func TestFilterThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t, localpg.ServerOptions{})
	server, err := postgres.Open("n2", s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	r := New(Options{
		Engine: filtering{}, Servers: map[string]Server{"n2": ended{server}},
		Wrap: func(_ string, err error) error { return err },
	})
	sieve, err := r.sieve(t.Context(), planner.Plan{Node: "n1"}, &lane{Lane: planner.Lane{Source: "n2", Target: "n3"}})
	if err == nil {
		t.Errorf("%v and no error", sieve)
	}
}
