package native

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

// Engine answers what planner, executor and keeper ask of a mesh of native
// logical replication. It is safe for concurrent use.
type Engine struct {
	cluster string
	servers map[string]*postgres.Server
	names   []string
	log     *slog.Logger

	providers *providers

	mu sync.Mutex
	// feeds has, by provider and slot, the peer whose subscription the slot
	// feeds: what makes a slot a mesh slot.
	feeds map[string]map[string]string
	// grants has, by node, what the role may read; learned by Observe.
	grants map[string]grants
	// forks has, by node, the history of the timeline it was last seen on.
	forks map[string]history
}

// New makes an engine. Close it.
func New(o Options) *Engine {
	e := &Engine{
		cluster: o.Cluster, servers: o.Servers, log: o.Log,
		names:  slices.Sorted(maps.Keys(o.Servers)),
		feeds:  make(map[string]map[string]string),
		grants: make(map[string]grants),
		forks:  make(map[string]history),
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

// grantsOf returns what the role may read on the node, asking if need be.
func (e *Engine) grantsOf(ctx context.Context, s *postgres.Server) (grants, error) {
	e.mu.Lock()
	g, ok := e.grants[s.Name()]
	e.mu.Unlock()
	if ok {
		return g, nil
	}
	b, err := readBase(ctx, s)
	if err != nil {
		return grants{}, err
	}
	return b.grants(), nil
}
