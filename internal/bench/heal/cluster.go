package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"healer/api"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/localagent"
	"healer/internal/localpg"
)

const clusterName = "bench"

// schema is what is replicated: one table, as wide as an ordinary row.
const schema = `create table item (id bigint primary key, run int not null, n int not null, pad text not null)`

// cluster is a mesh of servers with an agent process beside each.
type cluster struct {
	opts   options
	out    io.Writer
	dir    string
	mesh   *localpg.Mesh
	addrs  map[string]localagent.Address
	agents map[string]*localagent.Agent
	buses  []*natsbus.Client
	seen   *sightings
	client *http.Client
}

func newCluster(ctx context.Context, o options, out io.Writer) (_ *cluster, err error) {
	c := &cluster{
		opts: o, out: out, dir: o.keep, addrs: map[string]localagent.Address{}, agents: map[string]*localagent.Agent{},
		seen: newSightings(), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if o.keep == "" {
		c.dir, err = os.MkdirTemp("", "healer-bench-")
	} else {
		err = os.MkdirAll(o.keep, 0o750)
	}
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "starting %d servers and agents\n", o.nodes)
	c.mesh, err = localpg.StartMesh(ctx, localpg.Options{
		Nodes: o.nodes, Major: o.major, Links: true, Durable: o.durable, Schema: []string{schema},
	})
	if err != nil {
		return nil, err
	}
	if err := c.startAgents(ctx); err != nil {
		return nil, err
	}
	if err := c.subscribe(ctx); err != nil {
		return nil, err
	}
	return c, c.healthy(ctx)
}

func (c *cluster) startAgents(ctx context.Context) error {
	program, err := filepath.Abs(c.opts.program)
	if err != nil {
		return err
	}
	addrs, err := localagent.Addresses(ctx, c.mesh.Names(), func(n string) string { return c.mesh.Node(n).DSN() })
	if err != nil {
		return err
	}
	file := filepath.Join(c.dir, "cluster.yaml")
	if err := os.WriteFile(file, []byte(localagent.ClusterFile(clusterName, addrs)), 0o600); err != nil {
		return err
	}
	for _, a := range addrs {
		c.addrs[a.Node] = a
		c.agents[a.Node] = localagent.New(program, file, a.Node, c.dir)
		if err := c.agents[a.Node].Start(); err != nil {
			return err
		}
	}
	return nil
}

// subscribe listens through every agent's NATS server: whichever is killed, the
// others tell at once.
func (c *cluster) subscribe(ctx context.Context) error {
	for _, n := range c.mesh.Names() {
		bus, err := natsbus.Dial(ctx, natsbus.DialOptions{
			Cluster: clusterName, Name: "healer bench", URLs: []string{"nats://" + c.addrs[n].NATS},
		})
		if err != nil {
			return err
		}
		c.buses = append(c.buses, bus)
		if err := c.await(ctx, func(context.Context) error {
			if !bus.Connected() {
				return fmt.Errorf("the NATS server of %s does not answer", n)
			}
			return nil
		}); err != nil {
			return err
		}
		if _, err := bus.Subscribe(context.WithoutCancel(ctx), events.Filter{}, c.seen.add); err != nil {
			return err
		}
	}
	return nil
}

// close ends everything. It removes the logs unless they are to be kept.
func (c *cluster) close() error {
	var errs []error
	for _, b := range c.buses {
		b.Close()
	}
	for _, a := range c.agents {
		a.Kill()
	}
	if c.mesh != nil {
		errs = append(errs, c.mesh.Close())
	}
	if c.opts.keep == "" && c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

// tails is the end of each agent's log, for a failure.
func (c *cluster) tails() string {
	var b strings.Builder
	for _, n := range c.mesh.Names() {
		fmt.Fprintf(&b, "\n--- agent of %s ---\n%s", n, c.agents[n].Tail(20))
	}
	return b.String()
}

// kill is the loss of a host: nobody gets to say anything. It returns when the
// first signal was sent.
func (c *cluster) kill(ctx context.Context, node string) (time.Time, error) {
	at := time.Now()
	var both sync.WaitGroup
	both.Go(c.agents[node].Kill)
	err := c.mesh.Kill(ctx, node)
	both.Wait()
	return at, err
}

// restore brings the node back and waits until all is as before.
func (c *cluster) restore(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.limit)
	defer cancel()
	if err := c.mesh.Heal(); err != nil {
		return err
	}
	if !c.mesh.Node(node).Running() {
		if err := c.mesh.Node(node).Start(ctx); err != nil {
			return err
		}
	}
	if !c.agents[node].Running() {
		if err := c.agents[node].Start(); err != nil {
			return err
		}
	}
	if err := c.healthy(ctx); err != nil {
		return err
	}
	return c.mesh.WaitCaughtUp(ctx)
}

// healthy waits until every agent calls the cluster healthy, with a recovery slot
// on each node for each other, and every listener is connected.
func (c *cluster) healthy(ctx context.Context) error {
	want := c.opts.nodes * (c.opts.nodes - 1)
	return c.await(ctx, func(ctx context.Context) error {
		for i, n := range c.mesh.Names() {
			if err := c.agents[n].Ended(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			s, err := api.FetchStatus(ctx, c.client, c.addrs[n].API)
			cancel()
			switch {
			case err != nil:
				return fmt.Errorf("the agent of %s: %w", n, err)
			case s.State != api.Healthy:
				return fmt.Errorf("the agent of %s calls the cluster %s: %v", n, s.State, s.Reasons)
			case !s.NATS.StreamReady || s.NATS.OutboxDepth > 0:
				return fmt.Errorf("the agent of %s has events that the stream has not", n)
			case !c.buses[i].Connected():
				return fmt.Errorf("the listener at %s is not connected", n)
			}
			if kept := s.RecoverySlots(); kept != want {
				return fmt.Errorf("the agent of %s sees %d recovery slots of %d", n, kept, want)
			}
		}
		return nil
	})
}

// await asks until cond has nothing to object to, or the limit has passed.
func (c *cluster) await(ctx context.Context, cond func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", c.opts.limit, err)
		case <-tick.C:
		}
	}
}

// sightings are the events that arrived, each when it first did.
type sightings struct {
	mu   sync.Mutex
	ids  map[string]bool
	all  []sighting
	more chan struct{} // closed and replaced at each arrival
}

type sighting struct {
	event events.Event
	at    time.Time
}

func newSightings() *sightings { return &sightings{ids: map[string]bool{}, more: make(chan struct{})} }

// add takes an event that a listener got; others get it as well.
func (s *sightings) add(e events.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids[e.ID] {
		return
	}
	s.ids[e.ID] = true
	s.all = append(s.all, sighting{e, time.Now()})
	close(s.more)
	s.more = make(chan struct{})
}

// await returns the first event of a kind about a node that arrived after since.
func (s *sightings) await(ctx context.Context, since time.Time, kind events.Kind, node string) (sighting, error) {
	for from := 0; ; {
		s.mu.Lock()
		all, more := s.all, s.more
		s.mu.Unlock()
		for ; from < len(all); from++ {
			if x := all[from]; x.event.Kind() == kind && x.event.Subject == node && !x.at.Before(since) {
				return x, nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return sighting{}, fmt.Errorf("no %s of %s%s", kind, node, obstacles(all, since))
		}
	}
}

// obstacles tells of what may have stood in the way.
func obstacles(all []sighting, since time.Time) string {
	var b strings.Builder
	for _, s := range all {
		switch s.event.Kind() {
		case events.RecoveryRefused, events.RecoveryFailed, events.RecoveryCancelled:
			if !s.at.Before(since) {
				fmt.Fprintf(&b, "; %s %s", s.event.Kind(), s.event.Data)
			}
		}
	}
	return b.String()
}
