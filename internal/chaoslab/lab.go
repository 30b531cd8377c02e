package chaoslab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"healer/chaos/fault"
	"healer/events/natsbus"
	"healer/internal/localagent"
	"healer/internal/localnet"
	"healer/internal/localpg"
)

// Cluster is the name of the lab's cluster in events and subjects.
const Cluster = "chaos"

// Options say what a lab has.
type Options struct {
	// Nodes is how many there are; Majors are PostgreSQL's, which they take in turn:
	// none or 0 is the newest that is found. A node keeps its own whatever befalls it.
	Nodes  int
	Majors []int
	// Program is the healer whose agents run.
	Program string
	// Dir is an existing directory for everything but the servers' data.
	Dir string
	// Schema is SQL that every node runs before anything is replicated.
	Schema []string
	// Conf are settings of the servers.
	Conf map[string]string
	// Settings are further lines of the cluster's file.
	Settings string
	// Env are further variables of the agents' environment.
	Env []string
	Log *slog.Logger
}

// Lab is a running cluster.
type Lab struct {
	opts    Options
	mesh    *localpg.Mesh
	net     *localnet.Network // nil: the agents are on this machine's loopback
	noNet   error             // why there is none
	disks   *disks
	addrs   map[string]localagent.Address // as the agents know them
	outside map[string]localagent.Address // as this process reaches them
	agents  map[string]*localagent.Agent
	servers map[string]*server
	sql     map[pair]*wire // the sessions of an agent on a server
	repl    map[pair]*wire // the changes of a node on their way to another
	rules   *rules
	buses   map[string]*natsbus.Client
	client  *http.Client
	leases  []func()

	life context.Context
	end  context.CancelFunc
}

// pair is a way from a node to another.
type pair struct{ from, to string }

// Start starts the servers, the network and the agents. Close ends them.
func Start(ctx context.Context, o Options) (_ *Lab, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Lab{
		opts: o, addrs: map[string]localagent.Address{}, outside: map[string]localagent.Address{},
		agents: map[string]*localagent.Agent{}, servers: map[string]*server{},
		sql: map[pair]*wire{}, repl: map[pair]*wire{}, rules: newRules(), buses: map[string]*natsbus.Client{},
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	l.life, l.end = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	for _, part := range []func(context.Context) error{l.startServers, l.startNetwork, l.startWires, l.startAgents, l.listen} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	return l, nil
}

func (l *Lab) startServers(ctx context.Context) error {
	names := make([]string, l.opts.Nodes)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	o := localpg.Options{Names: names, Majors: l.opts.Majors, Schema: l.opts.Schema, Links: true, Conf: l.opts.Conf, Log: l.opts.Log}
	if l.disks = mountDisks(l.opts.Dir, names); l.disks.why == nil {
		o.Dir = l.disks.dir
	}
	var err error
	if l.mesh, err = localpg.StartMesh(ctx, o); err != nil {
		return err
	}
	for _, s := range l.mesh.Nodes() {
		l.servers[s.Name()] = &server{Server: s, lab: l}
	}
	return nil
}

// startNetwork makes a network for the agents where that is allowed.
func (l *Lab) startNetwork(ctx context.Context) error {
	names := l.mesh.Names()
	if l.net, l.noNet = localnet.New(names); l.noNet != nil {
		addrs, err := localagent.Addresses(ctx, names, l.dsn)
		for _, a := range addrs {
			l.addrs[a.Node], l.outside[a.Node] = a, a
		}
		return err
	}
	l.net.Rule(l.rules.fate)
	for _, n := range names {
		host := l.net.Host(n)
		at := func(port int) string { return fmt.Sprintf("%s:%d", host.Addr(), port) }
		in := localagent.Address{Node: n, Gossip: at(gossipPort), API: at(apiPort), NATS: at(natsPort), Route: at(routePort)}
		out := in
		for _, door := range []struct{ from, to *string }{{&out.API, &in.API}, {&out.NATS, &in.NATS}} {
			addr, release, err := localpg.LeaseAddr(ctx)
			if err != nil {
				return err
			}
			l.leases = append(l.leases, release)
			if err := host.Expose(l.life, addr, *door.to); err != nil { //nolint:contextcheck // it lives as long as the lab
				return err
			}
			*door.from = addr
		}
		l.addrs[n], l.outside[n] = in, out
	}
	return nil
}

// The ports of each agent on its own host.
const (
	gossipPort = 7941
	apiPort    = 8081
	natsPort   = 4222
	routePort  = 6222
)

func (l *Lab) dsn(node string) string { return l.mesh.Node(node).DSN() }

// startWires puts a proxy between each agent and each server.
func (l *Lab) startWires(context.Context) error {
	for _, a := range l.mesh.Names() {
		for _, s := range l.mesh.Names() {
			dial, listen := dialHere, localpg.Listen(nil)
			if l.net != nil {
				dial, listen = l.net.Host(a).Dial, l.net.Host(a).Listen
			}
			proxy, err := localpg.StartProxyIn(l.mesh.Node(s).Addr(), listen)
			if err != nil {
				return err
			}
			l.sql[pair{a, s}] = newWire("agent "+a+" to server "+s, fault.SQL, proxy, dial)
			if a != s {
				if err := l.door(l.mesh.Link(a, s).Addr()); err != nil {
					return err
				}
				l.repl[pair{a, s}] = newWire("changes of "+a+" to "+s, fault.Replication, l.mesh.Link(a, s), dialHere)
			}
		}
	}
	return nil
}

// door makes what listens on this machine reachable on every host: agents ask who is at
// the other end of the subscriptions.
func (l *Lab) door(addr string) error {
	if l.net == nil {
		return nil
	}
	for _, n := range l.mesh.Names() {
		if err := l.net.Host(n).Serve(l.life, addr, addr); err != nil {
			return err
		}
	}
	return nil
}

// startAgents writes a file for each agent: they differ in where the servers are.
func (l *Lab) startAgents(context.Context) error {
	for _, n := range l.mesh.Names() {
		var addrs []localagent.Address
		for _, s := range l.mesh.Names() {
			a := l.addrs[s]
			a.DSN = fmt.Sprintf("host=127.0.0.1 port=%d dbname=%s user=postgres sslmode=disable", l.sql[pair{n, s}].proxy.Port(), l.mesh.Database())
			addrs = append(addrs, a)
		}
		file := filepath.Join(l.opts.Dir, n+".yaml")
		if err := os.WriteFile(file, []byte(localagent.ClusterFile(Cluster, addrs)+l.opts.Settings), 0o600); err != nil {
			return err
		}
		l.agents[n] = localagent.New(l.opts.Program, file, n, l.opts.Dir).With(l.opts.Env...)
		if l.net != nil {
			l.agents[n].In(l.net.Host(n).Enter)
		}
		if err := l.agents[n].Start(); err != nil {
			return err
		}
	}
	return nil
}

// Names are the nodes.
func (l *Lab) Names() []string { return l.mesh.Names() }

// Mesh is the servers.
func (l *Lab) Mesh() *localpg.Mesh { return l.mesh }

// AgentOf is a node's agent.
func (l *Lab) AgentOf(node string) *localagent.Agent { return l.agents[node] }

// File is the cluster's file as a program outside of the agents' network needs it. It
// leads straight to the servers.
func (l *Lab) File() string {
	var addrs []localagent.Address
	for _, n := range l.mesh.Names() {
		a := l.outside[n]
		a.DSN = l.dsn(n)
		addrs = append(addrs, a)
	}
	return localagent.ClusterFile(Cluster, addrs) + l.opts.Settings
}

// API is where this process reaches a node's agent.
func (l *Lab) API(node string) string { return l.outside[node].API }

// Close ends everything that was started.
func (l *Lab) Close() error {
	for _, b := range l.buses {
		b.Close()
	}
	for _, a := range l.agents {
		a.Kill()
	}
	var errs []error
	if l.mesh != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		for _, n := range l.mesh.Names() {
			errs = append(errs, l.mesh.Kill(ctx, n))
		}
		cancel()
	}
	if l.disks != nil {
		errs = append(errs, l.disks.unmount())
	}
	if l.mesh != nil {
		errs = append(errs, l.mesh.Close())
	}
	for _, w := range l.sql {
		w.proxy.Close()
	}
	l.end()
	if l.net != nil {
		l.net.Close()
	}
	for _, release := range l.leases {
		release()
	}
	return errors.Join(errs...)
}
