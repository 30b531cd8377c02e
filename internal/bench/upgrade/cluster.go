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
	"time"

	"healer/api"
	"healer/internal/chaoslab"
	"healer/internal/localagent"
	"healer/internal/localpg"
)

// rows is how many rows the lost node writes that one survivor has not.
const rows = 500

// cluster is a mesh of servers with an agent process beside each.
type cluster struct {
	opts   options
	out    io.Writer
	dir    string
	file   string
	mesh   *localpg.Mesh
	addrs  map[string]localagent.Address
	agents map[string]*localagent.Agent
	runs   map[string]string // the program of each
	client *http.Client
}

func newCluster(ctx context.Context, o options, out io.Writer) (_ *cluster, err error) {
	c := &cluster{
		opts: o, out: out, dir: o.keep, addrs: map[string]localagent.Address{}, agents: map[string]*localagent.Agent{},
		runs: map[string]string{}, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.dir == "" {
		c.dir, err = os.MkdirTemp("", "healer-upgrade-")
	} else {
		err = os.MkdirAll(c.dir, 0o750)
	}
	if err != nil {
		return nil, err
	}
	c.mesh, err = localpg.StartMesh(ctx, localpg.Options{Links: true, Schema: []string{
		`create table item (id bigint primary key, round int not null, n int not null)`,
	}})
	if err != nil {
		return nil, err
	}
	addrs, err := localagent.Addresses(ctx, c.mesh.Names(), func(n string) string { return c.mesh.Node(n).DSN() })
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		c.addrs[a.Node] = a
	}
	c.file = filepath.Join(c.dir, "cluster.yaml")
	return c, os.WriteFile(c.file, []byte(localagent.ClusterFile("upgrade", addrs)), 0o600)
}

// set has the node's agent run that program, in the directory that it has.
func (c *cluster) set(node string, isNew bool) error {
	program := c.opts.old
	if isNew {
		program = c.opts.new
	}
	if c.runs[node] == program {
		return nil
	}
	if a := c.agents[node]; a != nil {
		a.Stop()
	}
	c.runs[node], c.agents[node] = program, localagent.New(program, c.file, node, c.dir)
	return c.agents[node].Start()
}

// close ends everything. What is to be kept stays.
func (c *cluster) close() error {
	var errs []error
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

// loss makes a gap, kills a node with its agent, waits until the survivors have the same,
// and brings the node back.
func (c *cluster) loss(ctx context.Context, n int, lost string) error {
	if err := c.healthy(ctx); err != nil {
		return err
	}
	var survivors []string
	for _, s := range c.mesh.Names() {
		if s != lost {
			survivors = append(survivors, s)
		}
	}
	laggard := survivors[n%len(survivors)]
	c.mesh.Link(lost, laggard).Cut()
	write := fmt.Sprintf(`insert into item select %d + i, %d, i from generate_series(1, %d) i`, n*10*rows, n, rows)
	if _, err := c.mesh.Node(lost).Exec(ctx, write); err != nil {
		return err
	}
	if err := c.mesh.WaitCaughtUp(ctx, lost, survivors[(n+1)%len(survivors)]); err != nil {
		return err
	}
	if err := c.has(ctx, n, 0, laggard); err != nil {
		return fmt.Errorf("there is no gap: %w", err)
	}
	c.agents[lost].Kill()
	if err := c.mesh.Kill(ctx, lost); err != nil {
		return err
	}
	c.mesh.Link(lost, laggard).Sever()
	if err := c.mesh.Heal(); err != nil {
		return err
	}
	if err := c.await(ctx, func(ctx context.Context) error { return c.has(ctx, n, rows, survivors...) }); err != nil {
		return err
	}
	if err := c.mesh.Node(lost).Start(ctx); err != nil {
		return err
	}
	if err := c.agents[lost].Start(); err != nil {
		return err
	}
	if err := c.healthy(ctx); err != nil {
		return err
	}
	return c.has(ctx, n, rows, c.mesh.Names()...)
}

// has reports whether the nodes have so many rows of a round.
func (c *cluster) has(ctx context.Context, round, want int, nodes ...string) error {
	for _, node := range nodes {
		got, err := localpg.Value[int](ctx, c.mesh.Node(node), `select count(*) from item where round = $1`, round)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s has %d rows of round %d, not %d", node, got, round, want)
		}
	}
	return nil
}

// healthy waits until every agent calls the cluster healthy, with a recovery slot on each
// node for each other.
func (c *cluster) healthy(ctx context.Context) error {
	return c.await(ctx, func(ctx context.Context) error {
		for _, n := range c.mesh.Names() {
			if err := c.agents[n].Ended(); err != nil {
				return err
			}
			s, err := c.status(ctx, n)
			if err != nil {
				return err
			}
			if s.State != api.Healthy {
				return fmt.Errorf("the agent of %s calls the cluster %s: %v", n, s.State, s.Reasons)
			}
			want := len(c.addrs) * (len(c.addrs) - 1)
			if kept := s.RecoverySlots(); kept != want {
				return fmt.Errorf("the agent of %s sees %d recovery slots of %d", n, kept, want)
			}
		}
		return nil
	})
}

func (c *cluster) status(ctx context.Context, node string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := api.FetchStatus(ctx, c.client, c.addrs[node].API)
	if err != nil {
		err = fmt.Errorf("the agent of %s: %w", node, err)
	}
	return s, err
}

// mixed is what the agents say of their versions, as far as they know of such a thing.
func (c *cluster) mixed(ctx context.Context) string {
	for _, n := range c.mesh.Names() {
		if s, err := c.status(ctx, n); err == nil && s.MixedVersions() != "" {
			return s.MixedVersions()
		}
	}
	return "one version"
}

// await asks until cond has nothing to object to, or the limit has passed.
func (c *cluster) await(ctx context.Context, cond func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.limit)
	defer cancel()
	if err := chaoslab.Await(ctx, cond); err != nil {
		return fmt.Errorf("not within %s: %w", c.opts.limit, err)
	}
	return nil
}
