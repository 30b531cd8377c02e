package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"healer/internal/localagent"
	"healer/internal/localnet"
)

// agents are the agents of one cluster, as processes.
type agents struct {
	*watch
	procs map[string]*process
}

// tuning is added to the clusters' files. Agents that only observe make no recovery
// slots and recover nothing, so nothing else works while a verdict is timed.
const tuning = "mode: observe\n"

// newAgents describes the agents; file is what they read.
func newAgents(o options, name, dir, file string, nodes []string, hosts map[string]*localnet.Host) (*agents, error) {
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "cluster.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		return nil, err
	}
	a := &agents{watch: newWatch(name, nodes), procs: map[string]*process{}}
	for _, n := range nodes {
		a.procs[n] = &process{
			program: o.healer, host: hosts[n], lines: func(line []byte) { a.line(n, line) },
			args: []string{
				"agent", "--config", path, "--node", n, "--data-dir", filepath.Join(dir, n), "--log-format", "json",
			},
		}
	}
	return a, nil
}

func (a *agents) start(node string) error {
	a.forget(node)
	return a.procs[node].start()
}

func (a *agents) startAll() error {
	for _, n := range a.nodes {
		if err := a.start(n); err != nil {
			return err
		}
	}
	return nil
}

func (a *agents) killAll() {
	for _, p := range a.procs {
		p.kill()
	}
}

// settled waits until all agents hold all nodes for up.
func (a *agents) settled(ctx context.Context) error {
	_, err := a.all(ctx, a.nodes, a.nodes, up)
	return err
}

// localFiles are the files of so many clusters of agents on this machine's loopback.
// All ports are found at once, before anybody takes one.
func localFiles(ctx context.Context, names, nodes []string, dsn func(string) string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var all []string
	for range names {
		all = append(all, nodes...)
	}
	addrs, err := localagent.Addresses(ctx, all, dsn)
	if err != nil {
		return nil, err
	}
	var files []string
	for i, name := range names {
		files = append(files, localagent.ClusterFile(name, addrs[i*len(nodes):(i+1)*len(nodes)])+tuning)
	}
	return files, nil
}

// hostFile is a cluster's file for agents on hosts of a virtual network. Several
// clusters share the hosts; each has ports of its own.
func hostFile(name string, nodes []string, hosts map[string]*localnet.Host, cluster int) string {
	var addrs []localagent.Address
	for _, n := range nodes {
		at := func(i int) string { return fmt.Sprintf("%s:%d", hosts[n].Addr(), 7000+10*cluster+i) }
		addrs = append(addrs, localagent.Address{
			Node: n, Gossip: at(0), API: at(1), NATS: at(2), Route: at(3),
			DSN: fmt.Sprintf("host=%s port=%d dbname=app user=postgres sslmode=disable", hosts[n].Addr(), serverPort),
		})
	}
	return strings.TrimSpace(localagent.ClusterFile(name, addrs)) + "\n" + tuning
}
