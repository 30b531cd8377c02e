package app_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"healer/api"
	"healer/config"
	"healer/detector/gossip"
	"healer/events"
	"healer/events/eventstest"
	"healer/events/natsbus"
	"healer/internal/app"
	"healer/internal/broker"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/internal/tracing"
)

// waitLimit bounds every wait of these tests. It is generous: it ends a test
// that hangs and decides nothing.
const waitLimit = 90 * time.Second

const schema = `CREATE TABLE account (
	id bigint PRIMARY KEY, owner text NOT NULL, amount bigint NOT NULL DEFAULT 0, note text);
CREATE TABLE entry (
	region text, no bigint, body jsonb, PRIMARY KEY (region, no));
-- Counts the row changes that reach a node from others, which a sequence does
-- without being replicated itself.
CREATE SEQUENCE received;
CREATE FUNCTION receive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.received'); RETURN NULL; END $$;
CREATE TRIGGER receive AFTER INSERT OR UPDATE OR DELETE ON account FOR EACH ROW EXECUTE FUNCTION receive();
CREATE TRIGGER receive AFTER INSERT OR UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION receive();
ALTER TABLE account ENABLE REPLICA TRIGGER receive;
ALTER TABLE entry ENABLE REPLICA TRIGGER receive`

// cluster is a mesh of real servers with an agent beside each, in this process.
type cluster struct {
	t    *testing.T
	mesh *localpg.Mesh
	cfg  *config.Config
	// extended is set when an extension replicates: its origins have the names of slots.
	extended bool
	// cfgs are the files of agents that have another than the rest.
	cfgs map[string]*config.Config
	// versions are those that agents tell of themselves; "test" of the others.
	versions map[string]string
	// spans are where agents send their traces.
	spans tracing.Settings

	mu     sync.Mutex
	agents map[string]*agent
	dirs   map[string]string
	// listening begins once the file is as the test wants it.
	listening sync.Once
}

// agent is one running agent.
type agent struct {
	cancel context.CancelFunc
	done   chan error
	log    *lockedBuffer
}

// lockedBuffer collects what several goroutines log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newCluster starts a mesh. dsn may replace a node's DSN as the agents have it.
func newCluster(t *testing.T, opts localpg.Options, dsn func(*localpg.Server) string) *cluster {
	t.Helper()
	opts.Links = true
	opts.Schema = append([]string{schema}, opts.Schema...)
	c := &cluster{t: t, mesh: pgtest.Mesh(t, opts), extended: opts.Engine != "" && opts.Engine != localpg.Native, agents: map[string]*agent{}, dirs: map[string]string{}}
	cfg := config.Defaults()
	cfg.Cluster = "test"
	cfg.Detection.FlapAfter = 1000 // what is killed on purpose is not to be held down for it
	for _, s := range c.mesh.Nodes() {
		n := config.Node{
			Name: s.Name(), DSN: s.DSN(), Gossip: pgtest.Addr(t), API: pgtest.Addr(t),
			NATS: config.NodeNATS{Client: pgtest.Addr(t), Cluster: pgtest.Addr(t)},
		}
		if dsn != nil {
			n.DSN = dsn(s)
		}
		cfg.Nodes = append(cfg.Nodes, n)
		c.dirs[n.Name] = t.TempDir()
	}
	cfg.Gossip.Keys = keyFile(t)
	cfg.API.TokenFile = secretFile(t, apiToken)
	c.cfg = &cfg
	t.Cleanup(c.stopAll)
	return c
}

// apiToken is what the agents want to be shown.
const apiToken = "let-me-steer"

// keyFile is a file with a fresh key.
func keyFile(t *testing.T) string {
	t.Helper()
	return secretFile(t, gossip.NewKey())
}

// secretFile is a file that nobody else may read.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start starts the agent of a node. Its data directory outlives it.
func (c *cluster) start(node string) {
	c.t.Helper()
	c.listening.Do(c.listen)
	ctx, cancel := context.WithCancel(context.Background())
	_, witness := c.cfg.Witness(node)
	a := &agent{cancel: cancel, done: make(chan error, 1), log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.mu.Lock()
	c.agents[node] = a
	c.mu.Unlock()
	cfg := c.cfg
	if other, ok := c.cfgs[node]; ok {
		cfg = other
	}
	go func() {
		a.done <- app.Run(ctx, app.Options{Config: cfg, Node: node, Witness: witness, DataDir: c.dirs[node], Version: cmp.Or(c.versions[node], "test"), Tracing: c.spans, Log: log})
	}()
}

// listen compares every event of the cluster with the schemas, to the test's end.
func (c *cluster) listen() {
	bus, err := natsbus.Dial(context.Background(), broker.Dial(c.cfg, "test"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(bus.Close)
	if _, err := bus.Subscribe(context.Background(), events.Filter{Kinds: ">", From: events.FromStart()}, func(e events.Event) {
		eventstest.Check(c.t, e)
	}); err != nil {
		c.t.Fatal(err)
	}
}

// startAll starts every agent and waits until all recovery slots are in place.
func (c *cluster) startAll() {
	c.t.Helper()
	for _, n := range c.cfg.Nodes {
		c.start(n.Name)
	}
	c.eventually("every node keeps a recovery slot for every peer", func() error {
		for _, n := range c.cfg.Nodes {
			s, err := c.status(n.Name)
			if err != nil {
				return err
			}
			if kept, want := s.RecoverySlots(), len(c.cfg.Nodes)*(len(c.cfg.Nodes)-1); kept != want {
				return fmt.Errorf("%s sees %d recovery slots of %d", n.Name, kept, want)
			}
			if s.State != api.Healthy {
				return fmt.Errorf("%s is %s: %v", n.Name, s.State, s.Reasons)
			}
		}
		return nil
	})
	c.decodable()
}

// decodable waits until the recovery slots of nodes where Healer made a publication have
// gone beyond that: what stands in the log before it decodes to nothing.
func (c *cluster) decodable() {
	c.t.Helper()
	for _, n := range c.cfg.Nodes {
		c.eventually("the recovery slots of "+n.Name+" are beyond its publication", func() error {
			left := value[int64](c, n.Name, `SELECT count(*) FROM pg_replication_slots s, pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
				WHERE p.pubname LIKE 'healer%' AND s.slot_name LIKE '%\_recovery\_%' AND age(r.xmin) <= age(s.catalog_xmin)`)
			if left == 0 {
				return nil
			}
			// Before 16 it is only now and then that PostgreSQL logs which transactions run.
			if value[int64](c, n.Name, `SELECT current_setting('server_version_num')::bigint`) < 160000 {
				c.exec(n.Name, "CHECKPOINT")
			}
			return fmt.Errorf("%d slots and tables are not", left)
		})
	}
}

// stop stops the agent of a node and reports how it ended.
func (c *cluster) stop(node string) error {
	c.mu.Lock()
	a := c.agents[node]
	delete(c.agents, node)
	c.mu.Unlock()
	if a == nil {
		return nil
	}
	a.cancel()
	err := <-a.done
	if c.t.Failed() {
		c.t.Logf("log of agent %s:\n%s", node, a.log)
	}
	return err
}

func (c *cluster) stopAll() {
	for name := range c.dirs {
		if err := c.stop(name); err != nil {
			c.t.Errorf("agent %s: %v", name, err)
		}
	}
}

// api is where the agent of a node, or of a witness, serves.
func (c *cluster) api(name string) string {
	if w, ok := c.cfg.Witness(name); ok {
		return w.API
	}
	n, _ := c.cfg.Node(name)
	return n.API
}

// sees is a node as the agent of another has it.
func (c *cluster) sees(agent, node string) (api.Node, error) {
	s, err := c.status(agent)
	for _, n := range s.Nodes {
		if n.Name == node {
			return n, err
		}
	}
	return api.Node{}, errors.Join(err, fmt.Errorf("%s shows no %s", agent, node))
}

// said is the log of a running agent.
func (c *cluster) said(agent string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agents[agent].log.String()
}

// status asks the agent of a node over HTTP, as an operator does.
func (c *cluster) status(node string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return api.FetchStatus(ctx, http.DefaultClient, c.api(node))
}

// newClusterWithDoor is a cluster whose agents reach n1 through a door.
func newClusterWithDoor(t *testing.T) (c *cluster, door *localpg.Proxy) {
	c = newCluster(t, localpg.Options{}, func(s *localpg.Server) string {
		if s.Name() != "n1" {
			return s.DSN()
		}
		door = pgtest.Proxy(t, s.Addr())
		return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=app", door.Port())
	})
	return c, door
}

// eventually waits until check has nothing to object to.
func (c *cluster) eventually(what string, check func() error) {
	c.t.Helper()
	pgtest.Eventually(c.t, waitLimit, what, check)
}

func (c *cluster) exec(node, sql string, args ...any) {
	c.t.Helper()
	if err := c.mesh.Exec(context.Background(), node, sql, args...); err != nil {
		c.t.Fatalf("%s: %s: %v", node, sql, err)
	}
}

// value runs a query for one value.
func value[T any](c *cluster, node, sql string, args ...any) T {
	c.t.Helper()
	v, err := localpg.Value[T](context.Background(), c.mesh.Node(node), sql, args...)
	if err != nil {
		c.t.Fatalf("%s: %s: %v", node, sql, err)
	}
	return v
}

// progress is what node has applied of origin.
func (c *cluster) progress(node, origin string) string {
	if c.extended {
		return value[string](c, node, `SELECT remote_lsn::text FROM pg_show_replication_origin_status() WHERE external_id = $1`, c.mesh.Slot(origin, node))
	}
	return value[string](c, node, `SELECT coalesce(s.remote_lsn, '0/0')::text FROM pg_subscription u
		LEFT JOIN pg_replication_origin_status s ON s.external_id = 'pg_' || u.oid WHERE u.subname = $1`,
		localpg.SubscriptionName(node, origin))
}

// rows is a fingerprint of all rows of all tables.
func (c *cluster) rows(node string) string {
	return value[string](c, node, `SELECT md5(coalesce((SELECT string_agg(a::text, E'\n' ORDER BY id) FROM account a), '')
		|| coalesce((SELECT string_agg(e::text, E'\n' ORDER BY region, no) FROM entry e), ''))`)
}
