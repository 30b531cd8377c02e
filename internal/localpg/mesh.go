package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Publication is the name of the publication on every node of a mesh.
const Publication = "mesh"

// Options say how a mesh is made. The zero value is three nodes of the newest
// PostgreSQL, all tables replicated.
type Options struct {
	Nodes    int      // 3 when zero and Names is empty
	Names    []string // of letters, digits and "_"; n1, n2, ... when empty
	Major    int      // as in ServerOptions
	Majors   []int    // of a mesh of several: the nodes take them in turn; Major says nothing then
	Dir      string   // as in ServerOptions
	Database string   // "app" when empty
	Engine   string   // Native when empty
	Schema   []string // SQL run on every node before anything is replicated
	Tables   []string // what is published, as SQL names; empty: all
	Links    bool     // put a Proxy into every stream; see Link
	Durable  bool     // as in ServerOptions
	Scram    bool     // as in ServerOptions
	Conf     map[string]string
	Log      *slog.Logger // nil discards
}

// Mesh is an active-active cluster: every node subscribes to every other, and gets
// what that has written itself, so that each transaction travels one hop from its author.
type Mesh struct {
	opts  Options
	work  *workDir
	nodes []*Server
	names map[string]*Server
	links map[pair]*Proxy
	// slots are those that have other names than their subscriptions.
	slots map[pair]string
	log   *slog.Logger

	closeOnce sync.Once
	closeErr  error
}

// pair is a stream of changes.
type pair struct{ from, to string }

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,19}$`)

// StartMesh makes the servers, joins them and returns when every stream runs.
// Close ends the mesh; a context that ends during the start ends it too.
func StartMesh(ctx context.Context, opts Options) (*Mesh, error) {
	if err := opts.complete(ctx); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	begin := time.Now()
	hosts, err := opts.hosts(ctx)
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	work, err := newWorkDir(ctx, opts.Dir, hosts[0].acc)
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	m := &Mesh{opts: opts, work: work, names: map[string]*Server{}, links: map[pair]*Proxy{}, slots: map[pair]string{}, log: opts.Log}
	if err := m.build(ctx, hosts); err != nil {
		return nil, errors.Join(fmt.Errorf("mesh: %w", err), m.close(ctx))
	}
	m.log.DebugContext(ctx, "mesh started", "nodes", len(m.nodes), "postgres", hosts[0].inst.Version, "took", time.Since(begin))
	return m, nil
}

// complete checks the options and fills in the defaults.
func (o *Options) complete(ctx context.Context) error {
	if len(o.Names) == 0 {
		if o.Nodes == 0 {
			o.Nodes = 3
		}
		for i := range o.Nodes {
			o.Names = append(o.Names, fmt.Sprintf("n%d", i+1))
		}
	}
	if len(o.Majors) > 0 && o.Engine != "" && o.Engine != Native {
		return fmt.Errorf("majors %v: a mesh of %s has servers of one installation", o.Majors, o.Engine)
	}
	if o.Nodes != 0 && o.Nodes != len(o.Names) {
		return fmt.Errorf("%d nodes with %d names", o.Nodes, len(o.Names))
	}
	seen := map[string]bool{}
	for _, name := range o.Names {
		if !namePattern.MatchString(name) || seen[name] {
			return fmt.Errorf("node name %q: it must be unique and match %s", name, namePattern)
		}
		seen[name] = true
	}
	if o.Database == "" {
		o.Database = "app"
	}
	if o.Engine == "" {
		o.Engine = Native
	}
	conf := map[string]string{}
	switch o.Engine {
	case Pglogical:
		conf["shared_preload_libraries"] = "pglogical"
	case Spock:
		var err error
		if conf, err = spockSettings(ctx); err != nil {
			return err
		}
	}
	maps.Copy(conf, o.Conf)
	o.Conf = conf
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// hosts are the installations that the nodes take in turn.
func (o *Options) hosts(ctx context.Context) ([]*host, error) {
	finds := []func(context.Context) (Installation, error){ofMajor(o.Major)}
	switch {
	case o.Engine == Pglogical:
		finds[0] = findPglogical
	case o.Engine == Spock:
		finds[0] = findSpock
	case len(o.Majors) > 0:
		finds = finds[:0]
		for _, major := range o.Majors {
			finds = append(finds, ofMajor(major))
		}
	}
	hosts := make([]*host, 0, len(finds))
	for _, find := range finds {
		h, err := newHost(ctx, find)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func (m *Mesh) build(ctx context.Context, hosts []*host) error {
	for i, name := range m.opts.Names {
		s, err := hosts[i%len(hosts)].newServer(ctx, ServerOptions{
			Name: name, Database: m.opts.Database, Durable: m.opts.Durable,
			Scram: m.opts.Scram, Conf: m.opts.Conf, Log: m.log,
		}, m.work.path)
		if err != nil {
			return err
		}
		m.nodes = append(m.nodes, s)
		m.names[name] = s
	}
	if err := m.eachNode(ctx, func(ctx context.Context, s *Server) error { return s.Start(ctx) }); err != nil {
		return err
	}
	if m.opts.Links {
		for _, p := range m.pairs() {
			proxy, err := hosts[0].cache.startProxy(ctx, m.names[p.from].Addr())
			if err != nil {
				return err
			}
			m.links[p] = proxy
		}
	}
	if e := m.opts.extension(); e != nil {
		return m.wireExtension(ctx, e)
	}
	return m.wire(ctx)
}

// eachNode runs do on all nodes at the same time.
func (m *Mesh) eachNode(ctx context.Context, do func(context.Context, *Server) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range m.nodes {
		g.Go(func() error { return do(ctx, s) })
	}
	return g.Wait()
}

// pairs lists every stream of the mesh.
func (m *Mesh) pairs() []pair {
	var all []pair
	for _, from := range m.nodes {
		for _, to := range m.nodes {
			if from != to {
				all = append(all, pair{from.Name(), to.Name()})
			}
		}
	}
	return all
}

// Names lists the nodes in the order of the options.
func (m *Mesh) Names() []string { return append([]string(nil), m.opts.Names...) }

// Database is the replicated database.
func (m *Mesh) Database() string { return m.opts.Database }

// Nodes lists the servers in the order of the options.
func (m *Mesh) Nodes() []*Server { return append([]*Server(nil), m.nodes...) }

// Node is the server of a name. It panics when the mesh has no such node: the
// names are the caller's own.
func (m *Mesh) Node(name string) *Server {
	s, ok := m.names[name]
	if !ok {
		panic(fmt.Sprintf("localpg: the mesh has no node %q", name))
	}
	return s
}

// Link is what the changes of from pass on their way to the node to: the
// connection which the subscription of to makes to from. Its Down direction
// carries the changes, Up the confirmations. It panics when the mesh was started
// without links or has no such nodes.
func (m *Mesh) Link(from, to string) *Proxy {
	p, ok := m.links[pair{from, to}]
	if !ok {
		panic(fmt.Sprintf("localpg: the mesh has no link from %q to %q", from, to))
	}
	return p
}

// Isolate cuts every link from and to a node.
func (m *Mesh) Isolate(name string) {
	for p, proxy := range m.links {
		if p.from == name || p.to == name {
			proxy.Cut()
		}
	}
}

// Heal ends the faults of all links.
func (m *Mesh) Heal() error {
	var errs []error
	for _, proxy := range m.links {
		errs = append(errs, proxy.Heal())
	}
	return errors.Join(errs...)
}

// Kill ends all processes of a node at once; Start of the node takes its data
// up again.
func (m *Mesh) Kill(ctx context.Context, name string) error { return m.Node(name).Kill(ctx) }

// Exec runs SQL on a node, as Server.Exec does.
func (m *Mesh) Exec(ctx context.Context, name, sql string, args ...any) error {
	_, err := m.Node(name).Exec(ctx, sql, args...)
	return err
}

// Close kills the servers, ends the links and removes everything. It may be
// called again, from several goroutines, and needs no context that still lives.
func (m *Mesh) Close() error { return m.close(context.Background()) }

// close closes also when the context is over.
func (m *Mesh) close(ctx context.Context) error {
	m.closeOnce.Do(func() {
		for _, proxy := range m.links {
			proxy.Close()
		}
		errs := make([]error, len(m.nodes))
		var wg sync.WaitGroup
		for i, s := range m.nodes {
			wg.Go(func() { errs[i] = s.close(ctx) })
		}
		wg.Wait()
		if m.closeErr = errors.Join(errs...); m.closeErr == nil {
			m.work.remove()
		}
	})
	return m.closeErr
}
