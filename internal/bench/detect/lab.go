package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"healer/internal/localnet"
	"healer/internal/localpg"
)

// lab is real servers, clusters of agents that watch them, and groups of plain
// members beside these.
type lab struct {
	o        options
	dir      string
	nodes    []string
	mesh     *localpg.Mesh
	net      *localnet.Network // nil on the loopback
	clusters []*agents
	members  *members
	cancel   context.CancelFunc
}

// serverPort is where the servers are reached on their hosts.
const serverPort = 5432

// settleLimit bounds how long a lab may take to be well; seeLimit how long a fault
// may go unseen.
const (
	settleLimit = 90 * time.Second
	seeLimit    = 60 * time.Second
)

// newLab starts a lab. virtual gives each node a host of its own on a network that
// can fail; groups is the number of plain groups of each kind.
func newLab(ctx context.Context, o options, clusters, groups int, virtual bool) (_ *lab, err error) {
	l := &lab{o: o, nodes: []string{"n1", "n2", "n3"}}
	ctx, l.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.dir, err = os.MkdirTemp("", "healer-detect-"); err != nil {
		return nil, err
	}
	l.mesh, err = localpg.StartMesh(ctx, localpg.Options{
		Names: l.nodes, Conf: map[string]string{"max_connections": "600"},
	})
	if err != nil {
		return nil, err
	}
	hosts := map[string]*localnet.Host{}
	if virtual {
		if l.net, err = localnet.New(l.nodes); err != nil {
			return nil, err
		}
		for _, n := range l.nodes {
			hosts[n] = l.net.Host(n)
			if err := hosts[n].Serve(ctx, fmt.Sprintf("%s:%d", hosts[n].Addr(), serverPort), l.mesh.Node(n).Addr()); err != nil {
				return nil, fmt.Errorf("host %s: %w", n, err)
			}
		}
	}
	if err := l.startAgents(ctx, clusters, hosts); err != nil {
		return nil, err
	}
	if groups > 0 {
		// Their ports are chosen once the agents have theirs.
		if err := l.settled(ctx); err != nil {
			return nil, err
		}
		if !virtual {
			hosts = nil
		}
		if l.members, err = newMembers(ctx, o, l.dir, l.nodes, hosts, 2*groups); err != nil {
			return nil, err
		}
	}
	return l, l.settled(ctx)
}

func (l *lab) startAgents(ctx context.Context, clusters int, hosts map[string]*localnet.Host) error {
	var names, files []string
	for i := range clusters {
		names = append(names, fmt.Sprintf("bench-%d", i+1))
		if l.net != nil {
			files = append(files, hostFile(names[i], l.nodes, hosts, i))
		}
	}
	if l.net == nil {
		var err error
		if files, err = localFiles(ctx, names, l.nodes, func(n string) string { return l.mesh.Node(n).DSN() }); err != nil {
			return err
		}
	}
	for i, name := range names {
		a, err := newAgents(l.o, name, l.dir, files[i], l.nodes, hosts)
		if err != nil {
			return err
		}
		l.clusters = append(l.clusters, a)
		if err := a.startAll(); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until everybody holds everybody for up.
func (l *lab) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for _, a := range l.clusters {
		if err := a.settled(ctx); err != nil {
			return err
		}
	}
	if l.members != nil {
		return l.members.settled(ctx)
	}
	return nil
}

func (l *lab) reset() {
	for _, a := range l.clusters {
		a.reset()
	}
	if l.members != nil {
		l.members.reset()
	}
}

// seen waits until in each cluster the given agents hold the victim for failed.
func (l *lab) seen(ctx context.Context, r *result, victim string, agents []string, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, seeLimit)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	samples := make([]float64, len(l.clusters))
	for i, a := range l.clusters {
		g.Go(func() error {
			at, err := a.all(ctx, agents, []string{victim}, failed)
			samples[i] = ms(at.Sub(since))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.Samples = append(r.Samples, samples...)
	return nil
}

// tally adds a trial of every cluster, and of every plain group: whether it judged
// anybody failed who had not.
func (l *lab) tally(r *result, victim string, since time.Time) {
	for _, a := range l.clusters {
		r.Trials++
		if a.wrong(victim, since) > 0 {
			r.Wrong++
			fmt.Fprintf(l.o.log, "  WRONG in %s: %+v\n", a.name, a.failures)
		}
	}
}

func (l *lab) close() error {
	for _, a := range l.clusters {
		a.killAll()
	}
	if l.members != nil {
		l.members.killAll()
	}
	l.cancel()
	if l.net != nil {
		l.net.Close()
	}
	var err error
	if l.mesh != nil {
		err = l.mesh.Close()
	}
	return errors.Join(err, os.RemoveAll(filepath.Clean(l.dir)))
}
