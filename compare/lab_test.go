package compare

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/topology"
)

var shared pgtest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

type tests struct{ m *testing.M }

func (t tests) Run() int { return shared.Run(t.m) }

// pair is a database on each of two servers, which stand for the nodes n1 and n2 of a mesh in
// which nothing is on its way.
type pair struct {
	*testing.T
	dsn   map[string]string
	conns map[string]*pgx.Conn
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{T: t, dsn: map[string]string{}, conns: map[string]*pgx.Conn{}}
	for _, n := range []string{"n1", "n2"} {
		p.dsn[n] = database(t, n)
		conn, err := pgx.Connect(t.Context(), p.dsn[n])
		if err != nil {
			t.Fatal(err)
		}
		p.conns[n] = conn
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	}
	return p
}

// serial numbers the databases of the tests.
var serial atomic.Int64

// database makes a database on the node's server, which goes with the test.
func database(t testing.TB, node string) string {
	t.Helper()
	server := shared.Server(t, node, localpg.ServerOptions{})
	name := fmt.Sprintf("pair_%d", serial.Add(1))
	if err := server.CreateDatabase(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.DropDatabase(context.WithoutCancel(t.Context()), name); err != nil {
			t.Error(err)
		}
	})
	return server.DSNFor(name)
}

func (p *pair) exec(node, sql string) {
	p.Helper()
	if err := p.conns[node].PgConn().Exec(p.Context(), sql).Close(); err != nil {
		p.Fatalf("%s: %v\n%s", node, err, sql)
	}
}

func (p *pair) both(sql string) {
	p.Helper()
	p.exec("n1", sql)
	p.exec("n2", sql)
}

// lines runs a query and returns its rows as text.
func (p *pair) lines(node, sql string) [][]string {
	p.Helper()
	got, err := query(p.Context(), p.conns[node].PgConn(), sql)
	if err != nil {
		p.Fatalf("%s: %v\n%s", node, err, sql)
	}
	out := make([][]string, len(got))
	for i, row := range got {
		for _, v := range row {
			out[i] = append(out[i], string(v))
		}
	}
	return out
}

func (p *pair) nodes() []Node {
	var out []Node
	for _, n := range []string{"n1", "n2"} {
		out = append(out, node(n, p.dsn[n]))
	}
	return out
}

func node(name, dsn string) Node {
	return Node{Name: name, Connect: func(ctx context.Context) (*pgconn.PgConn, error) { return pgconn.Connect(ctx, dsn) }}
}

func (p *pair) compare(o Options, tables ...Spec) Report {
	p.Helper()
	if o.Barrier == nil {
		o.Barrier = func(context.Context) error { return nil }
	}
	r, err := Run(p.Context(), p.nodes(), tables, o)
	if err != nil {
		p.Fatal(err)
	}
	for _, t := range r.Tables {
		if t.Problem != "" {
			p.Fatalf("table %s: %s", t.Table, t.Problem)
		}
	}
	return r
}

func table(name string) Spec { return Spec{Name: topology.TableName{Schema: "public", Name: name}} }

// brief is what the report lists: the key or the row, and how often each node has it.
func brief(r Report) []string {
	out := []string{}
	for _, d := range r.Differences {
		line := fmt.Sprint(d.Table, " ", d.Key)
		if d.Key == nil {
			line = d.Table + " " + d.Row
		}
		for _, v := range d.Versions {
			line += fmt.Sprintf(" %s:%d", v.Node, v.Copies)
		}
		out = append(out, line+" "+d.State)
	}
	slices.Sort(out)
	return out
}
