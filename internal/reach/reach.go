package reach

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"healer/api"
	"healer/config"
	"healer/postgres"
	"healer/postgres/native"
)

// Cluster is the servers of a cluster's file, by their names, and the engine.
type Cluster struct {
	Engine  *native.Engine
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
	r.Engine = native.New(native.Options{
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

// Agents asks all agents of the cluster at once, until ctx ends, and has the status of
// each that answers, by its node. Agents of another cluster are left out.
func Agents(ctx context.Context, c *config.Config) map[string]api.Status {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]api.Status{}
	for _, n := range c.Nodes {
		wg.Go(func() {
			s, err := api.FetchStatus(ctx, client, n.API)
			if err != nil || s.Cluster != c.Cluster {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out[n.Name] = s
		})
	}
	wg.Wait()
	return out
}
