package sim

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"healer/detector"
	"healer/detector/gossip"
)

// Sight is that somebody gave up a member: memberlist has it for dead, or a
// detector for failed.
type Sight struct {
	Observer, Subject string
	At                time.Time
}

// cluster is a system under trial. Its methods are called by one goroutine, within
// a bubble.
type cluster interface {
	// gather waits until all members know each other.
	gather(ctx context.Context) error
	// crash ends a member with its host: nothing of it reaches anybody.
	crash(name string)
	// kill ends a member's processes: who is connected to them sees it.
	kill(name string)
	// freeze stops a member's agent, or lets it go on.
	freeze(name string, on bool)
	// sights returns what was seen since the last call.
	sights() []Sight
	// sent sums up what all running members have sent.
	sent() Sent
	stop()
}

// Address is where the member n<i> gossips.
func Address(name string) string {
	var i int
	_, _ = fmt.Sscanf(strings.TrimPrefix(name, "n"), "%d", &i) // the names are ours
	return fmt.Sprintf("10.0.%d.%d:7946", i/250, i%250+1)
}

// Names are n1 to n<n>.
func Names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("n%d", i+1))
	}
	return out
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }

// await waits until ok holds.
func await(ctx context.Context, what string, limit time.Duration, ok func() bool) error {
	for begin := time.Now(); !ok(); pass(50 * time.Millisecond) {
		if time.Since(begin) > limit || ctx.Err() != nil {
			return fmt.Errorf("after %s still not: %s", limit, what)
		}
	}
	return nil
}

// healers is a cluster of agents: gossip, detector, and the servers they probe.
type healers struct {
	net   *Network
	world *World
	names []string
	live  map[string]*agent
	seen  []Sight
}

// agent is one of them.
type agent struct {
	port     *Port
	gossip   *gossip.Gossip
	detector *detector.Detector
	lives    map[string]detector.Life
}

// newHealers starts n agents with the defaults of a local network.
func newHealers(ctx context.Context, n int, network *Network) (*healers, error) {
	c := &healers{net: network, names: Names(n), live: map[string]*agent{}}
	c.world = NewWorld(c.names...)
	var members []gossip.Member
	for _, m := range c.names {
		members = append(members, gossip.Member{Name: m, Addr: Address(m)})
	}
	log := slog.New(slog.DiscardHandler)
	for _, name := range c.names {
		a := &agent{port: network.Listen(Address(name)), lives: map[string]detector.Life{}}
		probers := map[string]detector.Prober{}
		for _, m := range c.names {
			probers[m] = c.world.Prober(name, m)
		}
		var err error
		a.gossip, err = gossip.New(gossip.Config{Self: name, Cluster: "sim", Members: members, Transport: a.port, Log: log})
		if err != nil {
			return c, err
		}
		a.detector, err = detector.New(detector.Options{Self: name, Members: c.names, Probers: probers, Gossip: a.gossip, Log: log})
		if err != nil {
			return c, err
		}
		if err := a.detector.Start(ctx); err != nil {
			return c, err
		}
		c.live[name] = a
	}
	return c, nil
}

func (c *healers) gather(ctx context.Context) error {
	return await(ctx, "all agents are up everywhere", time.Minute, func() bool {
		c.sights()
		for _, a := range c.live {
			if len(a.gossip.Agents()) != len(c.live) {
				return false
			}
			for _, v := range a.detector.Verdicts() {
				if c.live[v.Node] != nil && v.Life != detector.LifeUp {
					return false
				}
			}
		}
		return true
	})
}

func (c *healers) crash(name string) {
	c.net.Vanish(Address(name))
	for _, m := range c.names {
		c.world.Sever(m, name, true)
		c.world.Sever(name, m, true)
	}
	c.end(name)
}

func (c *healers) kill(name string) {
	c.net.Vanish(Address(name))
	c.world.Kill(name)
	c.end(name)
}

// end stops what is left of a member that nobody hears any more.
func (c *healers) end(name string) {
	a := c.live[name]
	delete(c.live, name)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() { _ = a.detector.Stop(ctx) }()
}

func (c *healers) freeze(name string, on bool) {
	c.world.Freeze(name, on)
	c.net.Freeze(Address(name), on)
}

// sights looks at every agent's verdicts: when each was reached stands in it.
func (c *healers) sights() []Sight {
	for _, name := range c.names {
		a := c.live[name]
		if a == nil {
			continue
		}
		for _, v := range a.detector.Verdicts() {
			if v.Life == detector.LifeFailed && a.lives[v.Node] != detector.LifeFailed {
				c.seen = append(c.seen, Sight{Observer: name, Subject: v.Node, At: v.At})
			}
			a.lives[v.Node] = v.Life
		}
	}
	out := c.seen
	c.seen = nil
	return out
}

func (c *healers) sent() Sent {
	var sum Sent
	for _, a := range c.live {
		s := a.port.Sent()
		sum.Messages, sum.Bytes = sum.Messages+s.Messages, sum.Bytes+s.Bytes
	}
	return sum
}

func (c *healers) stop() {
	for _, name := range c.names {
		if c.live[name] != nil {
			c.end(name)
		}
	}
	pass(10 * time.Second) // memberlist's Shutdown does not wait for its probes
}
