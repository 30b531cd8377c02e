package app

import (
	"context"
	"fmt"
	"time"

	"healer/detector"
	"healer/detector/gossip"
	"healer/events"
	"healer/events/natsbus"
	"healer/internal/broker"
	"healer/internal/hooks"
	"healer/internal/tlsfile"
	"healer/postgres/probe"
)

// farewell is how long a stopping agent waits for the stream to take its last
// events. When all agents stop together nobody is left to take them, and the
// outbox keeps them for the next start.
const farewell = time.Second

// openEvents starts the embedded NATS server, unless there is an external one,
// and connects to it. Neither waits for a cluster or a stream.
func (a *Agent) openEvents(ctx context.Context, _ Options) (err error) {
	dial := broker.Dial(a.cfg, "healer-"+a.node)
	dial.Log = a.log
	if a.cfg.EmbeddedNATS() && a.self.NATS.Client != "" {
		if err := a.openBroker(ctx); err != nil {
			return err
		}
	}
	if a.broker != nil {
		dial.InProcess = a.broker
	}
	outbox, err := a.dir.sub("outbox")
	if err != nil {
		return err
	}
	a.bus, err = natsbus.Connect(ctx, natsbus.Options{
		DialOptions: dial, Agent: a.node, Replicas: min(3, len(a.brokers())), Dir: outbox,
	})
	if err != nil {
		return err
	}
	a.onClose("events", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, farewell)
		defer cancel()
		return a.bus.Close(ctx)
	})
	return nil
}

// openHooks begins to run what the operators want to be run at events.
func (a *Agent) openHooks(ctx context.Context, _ Options) (err error) {
	a.hooks, err = hooks.Start(ctx, hooks.Options{
		Bus: a.bus, Agent: a.node, Hooks: a.cfg.Hooks, Log: a.log.With("component", "hooks"),
	})
	if err != nil {
		return err
	}
	a.onClose("hooks", func(context.Context) error { a.hooks.Stop(); return nil })
	return nil
}

func (a *Agent) openBroker(ctx context.Context) error {
	store, err := a.dir.sub("jetstream")
	if err != nil {
		return err
	}
	doors := natsbus.Doors{TokenFile: a.cfg.NATS.TokenFile, ReaderTokenFile: a.cfg.NATS.ReaderTokenFile, Shared: hooks.Names(a.cfg.Hooks)}
	if t := a.cfg.NATS.TLS; t.CertFile != "" {
		if doors.TLS, err = a.certificate("nats", tlsfile.Files{Cert: t.CertFile, Key: t.KeyFile, CA: t.CAFile}); err != nil {
			return err
		}
	}
	var routes []string
	for _, route := range a.brokers() {
		if route != a.self.NATS.Cluster {
			routes = append(routes, route)
		}
	}
	a.broker, err = natsbus.StartServer(ctx, natsbus.ServerOptions{
		Node: a.node, Cluster: a.cfg.Cluster, Client: a.self.NATS.Client, Route: a.self.NATS.Cluster, Routes: routes,
		StoreDir: store, Doors: doors, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.onClose("NATS server", a.broker.Shutdown)
	return nil
}

// brokers are where the servers of the embedded NATS, or of an external one as
// many as there are nodes, meet each other.
func (a *Agent) brokers() []string {
	var routes []string
	for _, n := range a.cfg.Nodes {
		routes = append(routes, n.NATS.Cluster)
	}
	for _, w := range a.cfg.Witnesses {
		if w.NATS.Cluster != "" {
			routes = append(routes, w.NATS.Cluster)
		}
	}
	return routes
}

// openDetector starts gossip and probes.
func (a *Agent) openDetector(ctx context.Context, _ Options) error {
	d := a.cfg.Detection
	var members []gossip.Member
	probers := map[string]detector.Prober{}
	for _, n := range a.cfg.Nodes {
		members = append(members, gossip.Member{Name: n.Name, Addr: n.Gossip})
		p, err := probe.New(n.DSN)
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		probers[n.Name] = p
	}
	for _, w := range a.cfg.Witnesses {
		members = append(members, gossip.Member{Name: w.Name, Addr: w.Gossip})
	}
	var err error
	a.gossip, err = gossip.New(gossip.Config{
		Self: a.node, Cluster: a.cfg.Cluster, Members: members, Build: a.version, ProbeInterval: d.Gossip.ProbeInterval,
		ProbeTimeout: d.Gossip.ProbeTimeout, GossipInterval: d.Gossip.Interval,
		KeyFile: a.cfg.Gossip.Keys, OnConflict: a.onConflict, Control: a.control, Logs: a.memory.ends, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.detector, err = detector.New(detector.Options{
		Self: a.node, Members: a.cfg.Names(), Probers: probers, Gossip: a.gossip,
		Rules: detector.Rules{
			Quorum: detector.Quorum(d.Quorum), SilentAfter: d.SilentAfter,
			EvidenceTTL: d.EvidenceTTL, StartupGrace: d.StartupGrace, Witnesses: a.cfg.WitnessNames(),
			FlapAfter: d.FlapAfter, FlapWindow: d.FlapWindow, HoldDown: d.HoldDown, HoldDownMax: d.HoldDownMax,
		},
		Suspended: a.suspended, OnAgents: a.poke,
		Timing: detector.Timing{ProbeInterval: d.ProbeInterval, ProbeTimeout: d.ProbeTimeout},
		Prior:  a.memory.lives(), Log: a.log.With("component", "detector"),
	})
	if err != nil {
		return err
	}
	if err := a.detector.Start(ctx); err != nil {
		return err
	}
	// An agent that is stopped on purpose says so, or its peers would count
	// one more silent member.
	a.onClose("detector", a.detector.Leave)
	return nil
}

// eventSource feeds the API's streams of events from the bus.
type eventSource struct{ bus events.Subscriber }

// Events implements api.EventSource. Each reader has a subscription of its own, which
// waits for it.
func (s eventSource) Events(ctx context.Context, f events.Filter) (<-chan events.Event, error) {
	out := make(chan events.Event)
	stop, err := s.bus.Subscribe(ctx, f, func(e events.Event) {
		select {
		case out <- e:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		stop()
		close(out)
	})
	return out, nil
}
