package chaoscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"healer/chaos/fault"
	"healer/chaos/scenario"
	"healer/config"
	"healer/internal/chaoslab"
	"healer/internal/localpg"
	"healer/postgres"
)

// staging is a cluster of the user's. Nothing in it is a process of ours: faults come
// by SQL, by the runner's own proxies, and by the user's programs.
type staging struct {
	nodes   []string // and proxies: whatever a fault may name
	servers map[string]*postgres.Server
	proxies []*localpg.Proxy
	doors   map[string]fault.Wire
	out     io.Writer
}

var _ fault.World = (*staging)(nil)

// openStaging opens what leads to the servers, and starts the proxies.
func openStaging(c *config.Config, s *scenario.Scenario, out io.Writer) (_ *staging, err error) {
	g := &staging{servers: map[string]*postgres.Server{}, doors: map[string]fault.Wire{}, out: out}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	for _, n := range c.Nodes {
		if g.servers[n.Name], err = postgres.Open(n.Name, n.DSN); err != nil {
			return nil, err
		}
		g.nodes = append(g.nodes, n.Name)
	}
	for _, p := range s.Proxies {
		proxy, err := localpg.StartProxyAt(p.Listen, p.Upstream)
		if err != nil {
			return nil, fmt.Errorf("proxy %s: %w", p.Name, err)
		}
		g.proxies = append(g.proxies, proxy)
		// Faults of a proxy add up, so all have the same wire.
		g.doors[p.Name] = chaoslab.NewWire("proxy "+p.Name, s.LinkOf(p.Name), proxy)
		fmt.Fprintf(out, "proxy %s listens on %s for %s\n", p.Name, p.Listen, p.Upstream)
		g.nodes = append(g.nodes, p.Name)
	}
	return g, nil
}

func (g *staging) close() {
	for _, s := range g.servers {
		if s != nil {
			s.Close()
		}
	}
	for _, p := range g.proxies {
		p.Close()
	}
}

// Nodes implements fault.World.
func (g *staging) Nodes() []string { return g.nodes }

// SQL implements fault.World.
func (g *staging) SQL(node string) fault.Database { return remote{g.servers[node], node} }

// remote runs SQL as the role of the node's dsn.
type remote struct {
	on   *postgres.Server
	node string
}

func (r remote) known() error {
	if r.on == nil {
		return fmt.Errorf("%s is no node of the file", r.node)
	}
	return nil
}

// Exec implements fault.Database.
func (r remote) Exec(ctx context.Context, sql string) error {
	if err := r.known(); err != nil {
		return err
	}
	return r.on.Exec(ctx, sql)
}

// Texts implements fault.Database.
func (r remote) Texts(ctx context.Context, sql string) ([]string, error) {
	if err := r.known(); err != nil {
		return nil, err
	}
	var out []string
	err := r.on.JSON(ctx, &out, "select to_jsonb(array("+sql+"))")
	return out, err
}

func local(what string) error {
	return fault.Unable(what+" of this cluster is no process of this machine's", "use the kind command, with programs of yours")
}

// Server implements fault.World.
func (g *staging) Server(string) (fault.Server, error) { return nil, local("the server") }

// Agent implements fault.World.
func (g *staging) Agent(string) (fault.Agent, error) { return nil, local("the agent") }

// Wires implements fault.World.
func (g *staging) Wires(fault.Layer, string, string) ([]fault.Wire, error) {
	return nil, fault.Unable("the link leads through none of the scenario's proxies", "name a proxy as the node")
}

// Door implements fault.World.
func (g *staging) Door(name string, _ fault.Layer) (fault.Wire, bool) {
	d, ok := g.doors[name]
	return d, ok
}

// Disk implements fault.World.
func (g *staging) Disk(string) (fault.Disk, error) { return nil, local("the disk") }

// Subscription implements fault.World: only the user knows what they are called.
func (g *staging) Subscription(string, string) string { return "" }

// Slot implements fault.World.
func (g *staging) Slot(string, string, bool) string { return "" }

// StreamLeader implements fault.World.
func (g *staging) StreamLeader(context.Context) (string, error) { return "", local("the leader") }

// Command implements fault.World.
func (g *staging) Command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("the command is empty")
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = g.out, g.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w", args, err)
	}
	return nil
}
