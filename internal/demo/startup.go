package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"healer/api"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/demo/show"
	"healer/internal/demo/workload"
	"healer/internal/localagent"
	"healer/internal/localpg"
	"healer/topology"
)

func (r *run) startServers(ctx context.Context) (string, error) {
	if err := r.makeDir(); err != nil {
		return "", err
	}
	inst, err := localpg.Prepare(ctx, r.opts.Major)
	if err != nil {
		return "", err
	}
	r.report.PostgresVersion = inst.Version
	opts := localpg.Options{Nodes: r.opts.Nodes, Major: inst.Major, Schema: workload.Schema(), Links: true}
	if r.opts.Dir != "" {
		opts.Dir = filepath.Join(r.dir, "servers")
	}
	if r.mesh, err = localpg.StartMesh(ctx, opts); err != nil {
		return "", err
	}
	r.onEnd(func() { _ = r.mesh.Close() })
	r.startPolling(ctx)
	return fmt.Sprintf("PostgreSQL %s on %d nodes", inst.Version, r.opts.Nodes), nil
}

// startPolling reads the nodes for the view, from now to the end of the run:
// longer than the step that starts it.
func (r *run) startPolling(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &poller{
		mesh: r.mesh, show: r.view.Show, now: r.now,
		alive: func(node string, server bool) { r.life(node, func(l *show.Life) { l.Server = server }) },
	}
	p.start(ctx)
	r.onEnd(func() { cancel(); p.done.Wait() })
}

func (r *run) startAgents(ctx context.Context) (string, error) {
	addrs, err := localagent.Addresses(ctx, r.opts.names(), func(n string) string { return r.mesh.Node(n).DSN() })
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		r.addrs[a.Node] = a
	}
	r.file = filepath.Join(r.dir, "cluster.yaml")
	// Who tries the commands meanwhile may steer, too.
	token := filepath.Join(r.dir, "api.token")
	if err := os.WriteFile(token, []byte(rand.Text()+"\n"), 0o600); err != nil {
		return "", err
	}
	file := localagent.ClusterFile(clusterName, addrs) + fmt.Sprintf("api: {token_file: %q}\n", token)
	if err := os.WriteFile(r.file, []byte(file), 0o600); err != nil {
		return "", err
	}
	program, err := r.program()
	if err != nil {
		return "", err
	}
	for _, n := range r.opts.names() {
		a := localagent.New(program, r.file, n, r.dir)
		r.agents[n] = a
		r.onEnd(a.Kill)
		if err := a.Start(); err != nil {
			return "", err
		}
		r.life(n, func(l *show.Life) { l.Agent = true })
	}
	if err := r.subscribe(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d agents run, file %s", r.opts.Nodes, r.file), nil
}

// subscribe listens to the events, through the survivors' NATS: the other dies
// with its node.
func (r *run) subscribe(ctx context.Context) error {
	var urls []string
	for _, n := range append(r.opts.survivors(), r.opts.Kill) {
		urls = append(urls, "nats://"+r.addrs[n].NATS)
	}
	// The client lives as long as the run, not as this step.
	client, err := natsbus.Dial(context.WithoutCancel(ctx), natsbus.DialOptions{Cluster: clusterName, Name: "healer demo", URLs: urls})
	if err != nil {
		return err
	}
	r.events = client
	r.onEnd(client.Close)
	err = poll(ctx, func(context.Context) error {
		if client.Connected() {
			return nil
		}
		if err := r.agentsEnded(); err != nil {
			return err
		}
		return errors.New("no agent's NATS server answers")
	})
	if err != nil {
		return err
	}
	_, err = client.Subscribe(context.WithoutCancel(ctx), events.Filter{}, r.saw)
	return err
}

// agentsEnded is an error when an agent has ended that should run.
func (r *run) agentsEnded() error {
	for _, n := range r.opts.names() {
		if err := r.agents[n].Ended(); err != nil {
			return final{err}
		}
	}
	return nil
}

// awaitReady waits until each agent calls the cluster healthy and each node
// keeps a recovery slot for each other.
func (r *run) awaitReady(ctx context.Context) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, n := range r.opts.names() {
		err := poll(ctx, func(ctx context.Context) error {
			if err := r.agentsEnded(); err != nil {
				return err
			}
			return errors.Join(r.healthy(ctx, client, n), r.slotsKept(ctx, n))
		})
		if err != nil {
			return "", err
		}
		r.life(n, func(l *show.Life) { l.Verdict = "alive" })
	}
	return "every agent calls the cluster healthy", nil
}

func (r *run) healthy(ctx context.Context, client *http.Client, node string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := api.FetchStatus(ctx, client, r.addrs[node].API)
	if err != nil {
		return fmt.Errorf("the agent of %s: %w", node, err)
	}
	if s.State != api.Healthy {
		return fmt.Errorf("the agent of %s calls the cluster %s: %v", node, s.State, s.Reasons)
	}
	return nil
}

func (r *run) slotsKept(ctx context.Context, node string) error {
	slots, err := localpg.Column[string](ctx, r.mesh.Node(node), `select slot_name::text from pg_replication_slots`)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, s := range slots {
		have[s] = true
	}
	for _, peer := range r.opts.names() {
		if name := topology.RecoverySlotName(r.mesh.Database(), node, peer); peer != node && !have[name] {
			return fmt.Errorf("%s keeps no recovery slot for %s yet", node, peer)
		}
	}
	return nil
}

func (r *run) startWorkload(ctx context.Context) (string, error) {
	nodes := make([]workload.Node, 0, r.opts.Nodes)
	for _, s := range r.mesh.Nodes() {
		nodes = append(nodes, workload.Node{Name: s.Name(), On: s})
	}
	r.work = workload.New(workload.Options{Nodes: nodes, Seed: uint64(r.begin.UnixNano())})
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.work.Start(life)
	r.showRates(life)
	r.onEnd(func() { cancel(); r.work.Stop() })
	err := poll(ctx, func(context.Context) error {
		for _, s := range r.work.Stats() {
			if s.Transactions < 100 {
				return fmt.Errorf("%s has %d of 100 transactions", s.Node, s.Transactions)
			}
		}
		return nil
	})
	return "all nodes are written", err
}

// showRates tells the view what is written, until life ends.
func (r *run) showRates(life context.Context) {
	done := make(chan struct{})
	r.onEnd(func() { <-done })
	go func() {
		defer close(done)
		before, at := r.work.Stats(), time.Now()
		for life.Err() == nil {
			wait(life, ratesEvery)
			now, stats := time.Now(), r.work.Stats()
			u := show.Rates{At: r.now()}
			for i, s := range stats {
				u.Nodes = append(u.Nodes, show.Rate{
					Node: s.Node, Total: s.Transactions, Pause: s.Pause,
					PerSecond: float64(s.Transactions-before[i].Transactions) / now.Sub(at).Seconds(),
				})
			}
			before, at = stats, now
			r.view.Show(u)
		}
	}()
}
