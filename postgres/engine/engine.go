package engine

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"healer/postgres"
	"healer/topology"
)

// Options configure an Engine.
type Options struct {
	// Dialects are the engines that the nodes may run, PostgreSQL's own first; of
	// several, each node's catalogs tell which it is.
	Dialects []Dialect
	// Cluster is the cluster's name, for observations.
	Cluster string
	// Servers are the configured nodes by name. The caller closes them, after
	// the engine.
	Servers map[string]*postgres.Server
	// Providers is what Providers returned in an earlier life, so that a
	// subscription is known for what it is although its provider is dead.
	Providers map[string]string
	// Feeds is what Feeds returned in an earlier life, so that a slot of the
	// mesh is known for what it is although the node it feeds is dead.
	Feeds map[string]map[string]string
	// Log receives what an operator may want to know; required.
	Log *slog.Logger
}

// Engine answers what planner, executor and keeper ask of a mesh. It is safe for
// concurrent use.
type Engine struct {
	dialects []Dialect
	cluster  string
	servers  map[string]*postgres.Server
	names    []string
	log      *slog.Logger

	providers *providers

	mu sync.Mutex
	// feeds has, by provider and slot, the peer whose subscription the slot
	// feeds: what makes a slot a mesh slot.
	feeds map[string]map[string]string
	// told has, by node and provider, what the node has confirmed.
	told map[[2]string]confirmation
	// tongues has, by node, how it is talked to; learned by Observe.
	tongues map[string]tongue
	// forks has, by node, the history of the timeline it was last seen on.
	forks map[string]history
}

// New makes an engine. Close it.
func New(o Options) *Engine {
	e := &Engine{
		dialects: o.Dialects, cluster: o.Cluster, servers: o.Servers, log: o.Log,
		names: slices.Sorted(maps.Keys(o.Servers)),
		feeds: make(map[string]map[string]string),
		told:  make(map[[2]string]confirmation), tongues: make(map[string]tongue),
		forks: make(map[string]history),
	}
	for provider, slots := range o.Feeds {
		e.feeds[provider] = maps.Clone(slots)
	}
	e.providers = newProviders(o.Servers, o.Providers, o.Log)
	return e
}

// Close ends what runs in the background and waits for it.
func (e *Engine) Close() { e.providers.close() }

// Providers is what is known for certain of which subscription reads from
// which node, to be given to New in the next life.
func (e *Engine) Providers() map[string]string { return e.providers.export() }

// Nodes are the configured nodes' names in order.
func (e *Engine) Nodes() []string { return slices.Clone(e.names) }

func (e *Engine) server(node string) (*postgres.Server, error) {
	s, ok := e.servers[node]
	if !ok {
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: "unknown_node", Node: node,
			Hint: "name a node of the configuration", Err: fmt.Errorf("node %q is not configured", node),
		}
	}
	return s, nil
}

// tongue is the engine that a node runs, and what the role may read there.
type tongue struct {
	Dialect
	grants  Grants
	version int
}

// at returns a node's server and how it is talked to.
func (e *Engine) at(ctx context.Context, node string) (*postgres.Server, tongue, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, tongue{}, err
	}
	t, err := e.tongue(ctx, s)
	return s, t, err
}

// tongue returns how a node is talked to, asking if need be.
func (e *Engine) tongue(ctx context.Context, s *postgres.Server) (tongue, error) {
	e.mu.Lock()
	t, ok := e.tongues[s.Name()]
	e.mu.Unlock()
	if ok {
		return t, nil
	}
	b, err := readBase(ctx, s)
	if err != nil {
		return tongue{}, err
	}
	return tongue{e.choose(b), b.grants(), b.Version}, nil
}
