package nodes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"healer/events"
	"healer/events/eventstest"
	"healer/events/natsbus"
	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/internal/nodes"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/postgres/native"
)

// waitLimit ends a test that hangs; it decides nothing.
const waitLimit = 90 * time.Second

const schema = `CREATE TABLE account (id bigint PRIMARY KEY, owner text NOT NULL, amount bigint NOT NULL DEFAULT 0,
	twice bigint GENERATED ALWAYS AS (amount * 2) STORED);
CREATE TABLE entry (region text, no bigint, body text, PRIMARY KEY (region, no)) PARTITION BY LIST (region);
CREATE TABLE entry_n1 PARTITION OF entry FOR VALUES IN ('n1');
CREATE TABLE entry_rest PARTITION OF entry DEFAULT;
CREATE TABLE loose (writer text, no bigint); -- without a key: what comes twice is there twice
CREATE SCHEMA "Odd";
CREATE TABLE "Odd"."Name" ("The Key" text PRIMARY KEY, "order" int[])`

// lab is a mesh of real servers without agents, and a stream of events.
type lab struct {
	t    *testing.T
	mesh *localpg.Mesh
	file string
	bus  *natsbus.Client

	mu   sync.Mutex
	told []events.Event
}

func newLab(t *testing.T, major int) *lab {
	t.Helper()
	l := &lab{t: t, mesh: pgtest.Mesh(t, localpg.Options{Major: major, Schema: []string{schema}})}
	broker, err := natsbus.StartServer(t.Context(), natsbus.ServerOptions{
		Node: "solo", Cluster: "app", Client: freeAddr(t), Route: freeAddr(t), StoreDir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
	})
	l.must(err)
	t.Cleanup(func() { l.must(broker.Shutdown(context.Background())) })
	var b strings.Builder
	fmt.Fprintf(&b, "cluster: app\nnats: {url: %q}\nnodes:\n", broker.URL())
	for _, s := range l.mesh.Nodes() {
		fmt.Fprintf(&b, "  - name: %s\n    dsn: %q\n    gossip: %s\n    api: %s\n", s.Name(), s.DSN(), freeAddr(t), freeAddr(t))
	}
	l.file = filepath.Join(t.TempDir(), "healer.yaml")
	l.must(os.WriteFile(l.file, []byte(b.String()), 0o600))
	l.bus, err = natsbus.Dial(t.Context(), natsbus.DialOptions{Cluster: "app", Name: "test", InProcess: broker})
	l.must(err)
	t.Cleanup(func() { l.bus.Close() })
	stop, err := l.bus.Subscribe(t.Context(), events.Filter{}, func(e events.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		eventstest.Check(t, e)
		l.told = append(l.told, e)
	})
	l.must(err)
	t.Cleanup(stop)
	return l
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (l *lab) must(errs ...error) {
	l.t.Helper()
	if err := errors.Join(errs...); err != nil {
		l.t.Fatal(err)
	}
}

// run runs `healer node ARGS --config FILE`.
func (l *lab) run(ctx context.Context, stdin string, args ...string) (code int, stdout, stderr string) {
	check := func(dsn string) (string, error) {
		e, err := postgres.ParseEndpoint(dsn)
		return e.String(), err
	}
	var out, say bytes.Buffer
	code = cli.App{
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &say, Build: build.Read("v1"), CheckDSN: check,
		NodeCommands: nodes.Commands(check),
	}.Run(ctx, append([]string{"node"}, append(args, "--config", l.file)...))
	return code, out.String(), say.String()
}

// ok runs a command that must succeed and reads its JSON.
func (l *lab) ok(into any, args ...string) {
	l.t.Helper()
	code, out, say := l.run(l.t.Context(), "", append(args, "-o", "json")...)
	if code != 0 {
		l.t.Fatalf("healer node %v: exit code %d\n%s%s", args, code, out, say)
	}
	l.must(json.Unmarshal([]byte(out), into))
}

// fails runs a command that must fail with these words.
func (l *lab) fails(words string, args ...string) {
	l.t.Helper()
	code, out, say := l.run(l.t.Context(), "", args...)
	if code != 1 || !strings.Contains(say, words) {
		l.t.Errorf("healer node %v: exit code %d, want 1 and %q\n%s%s", args, code, words, out, say)
	}
}

// engine is one of the test's own.
func (l *lab) engine() *engine.Engine {
	l.t.Helper()
	servers := map[string]*postgres.Server{}
	for _, n := range l.mesh.Nodes() {
		s, err := postgres.Open(n.Name(), n.DSN())
		l.must(err)
		l.t.Cleanup(s.Close)
		servers[n.Name()] = s
	}
	e := native.New(engine.Options{Cluster: "app", Servers: servers, Log: slog.New(slog.DiscardHandler)})
	l.t.Cleanup(e.Close)
	return e
}

// lose kills n1 and fences the survivors off from it, as agents do.
func (l *lab) lose() {
	l.t.Helper()
	ctx := l.t.Context()
	e := l.engine()
	obs := e.ObserveAll(ctx)
	n1, _ := obs.Node("n1")
	l.must(l.mesh.Kill(ctx, "n1"))
	for _, n := range []string{"n2", "n3"} {
		state, _ := obs.Node(n)
		sub, ok := state.From("n1")
		if !ok {
			l.t.Fatalf("%s reads from nobody known", n)
		}
		_, err := e.Fence(ctx, n, sub, n1.Identity)
		l.must(err)
	}
}

func (l *lab) exec(node, sql string, args ...any) {
	l.t.Helper()
	l.must(l.mesh.Exec(l.t.Context(), node, sql, args...))
}

func value[T any](l *lab, node, sql string, args ...any) T {
	l.t.Helper()
	v, err := localpg.Value[T](l.t.Context(), l.mesh.Node(node), sql, args...)
	l.must(err)
	return v
}

func (l *lab) eventually(what string, check func() error) {
	l.t.Helper()
	pgtest.Eventually(l.t, waitLimit, what, check)
}

// event waits for an event of that kind about n1.
func (l *lab) event(k events.Kind) events.Event {
	l.t.Helper()
	var found events.Event
	l.eventually("event "+string(k), func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range l.told {
			if e.Kind() == k && e.Subject == "n1" {
				found = e
				return nil
			}
		}
		return errors.New("not told")
	})
	return found
}

// fill writes a few rows on every node.
func (l *lab) fill() {
	l.t.Helper()
	for i, n := range l.mesh.Names() {
		l.exec(n, fmt.Sprintf(`INSERT INTO account SELECT i, '%s', i FROM generate_series(%d, %d) i`, n, i*1000+1, i*1000+500))
		l.exec(n, fmt.Sprintf(`INSERT INTO entry SELECT '%s', i, repeat('x', 100) FROM generate_series(1, 200) i`, n))
		l.exec(n, fmt.Sprintf(`INSERT INTO "Odd"."Name" VALUES ('%s', '{1,2}'), ('tab	and \ and "quote" %s', NULL)`, n, n))
	}
	l.must(l.mesh.WaitCaughtUp(l.t.Context()))
}

// rows is a fingerprint of all rows.
func (l *lab) rows(node string) string {
	return value[string](l, node, `SELECT md5(coalesce((SELECT string_agg(a::text, E'\n' ORDER BY id) FROM account a), '')
		|| coalesce((SELECT string_agg(e::text, E'\n' ORDER BY region, no) FROM entry e), '')
		|| coalesce((SELECT string_agg(x::text, E'\n' ORDER BY writer, no) FROM loose x), '')
		|| coalesce((SELECT string_agg(o::text, E'\n' ORDER BY "The Key") FROM "Odd"."Name" o), ''))`)
}

// left counts what a node has of n1, and of the marks of anybody.
func (l *lab) left(node string) int64 {
	return value[int64](l, node, `SELECT (SELECT count(*) FROM pg_subscription WHERE subname LIKE '%from_n1')
		+ (SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE '%n1_from%' OR slot_name LIKE '%\_n1')
		+ (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:%')`)
}
