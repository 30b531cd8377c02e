package reach

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"healer/api"
	"healer/config"
	"healer/internal/apiclient"
	"healer/internal/engines"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// Cluster is the servers of a cluster's file, by their names, and the engine.
type Cluster struct {
	Engine  *engine.Engine
	Servers map[string]*postgres.Server
}

// Open makes the handles; nothing is connected to yet. Feeds says which slot of a
// node feeds whom, where that is known from elsewhere; it may be nil.
func Open(c *config.Config, feeds map[string]map[string]string) (*Cluster, error) {
	r := &Cluster{Servers: map[string]*postgres.Server{}}
	for _, n := range c.Nodes {
		s, err := postgres.Open(n.Name, n.DSN)
		if err != nil {
			r.Close()
			return nil, err
		}
		r.Servers[n.Name] = s
	}
	r.Engine = engines.New(c.Engine, engine.Options{
		Cluster: c.Cluster, Servers: r.Servers, Feeds: feeds, Log: slog.New(slog.DiscardHandler),
	})
	return r, nil
}

// Close ends all connections.
func (r *Cluster) Close() {
	if r.Engine != nil {
		r.Engine.Close()
	}
	for _, s := range r.Servers {
		s.Close()
	}
}

// knownWithin is how long it may take to learn which node each subscription
// reads from: the server at its other end is asked.
const knownWithin = 5 * time.Second

// Observe reads all nodes, until it is known where every subscription reads from, or
// as long as that may take. learn may fill in what no server can tell; it may be nil.
func (r *Cluster) Observe(ctx context.Context, learn func(context.Context, topology.Observation)) topology.Observation {
	limited, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	for {
		obs := r.Engine.ObserveAll(ctx)
		if learn != nil && !obs.ProvidersKnown() {
			learn(limited, obs)
		}
		if obs.ProvidersKnown() || postgres.Pause(limited, 100*time.Millisecond) != nil {
			return obs
		}
	}
}

// CanAsk is why no agent could be asked whatever it said: the file wants TLS, and what
// that needs cannot be used. A command that heeds the agents does not go on without them.
func CanAsk(c *config.Config) error {
	_, err := apiclient.Of(c, apiclient.Files{})
	return err
}

// Agents asks all agents of the cluster at once, those of witnesses too, until ctx ends,
// and has the status of each that answers, by its name: of none when none can be asked.
// Agents of another cluster are left out.
func Agents(ctx context.Context, c *config.Config) map[string]api.Status {
	at := map[string]string{}
	for _, n := range c.Nodes {
		at[n.Name] = n.API
	}
	for _, w := range c.Witnesses {
		at[w.Name] = w.API
	}
	out := map[string]api.Status{}
	client, err := apiclient.Of(c, apiclient.Files{})
	if err != nil {
		return out
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, addr := range at {
		wg.Go(func() {
			s, err := api.FetchStatus(ctx, client, addr)
			if err != nil || s.Cluster != c.Cluster {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out[name] = s
		})
	}
	wg.Wait()
	return out
}
