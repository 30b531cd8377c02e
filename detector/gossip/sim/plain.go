package sim

import (
	"context"
	"io"
	"log"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// plains is a cluster of bare memberlists: SWIM with the Lifeguard extensions, and
// nothing of Healer.
type plains struct {
	net   *Network
	names []string
	live  map[string]*bare

	mu   sync.Mutex
	seen []Sight
}

type bare struct {
	port *Port
	list *memberlist.Memberlist
}

// lan are memberlist's own defaults for a local network; tuned the same with the
// intervals that Healer's gossip has by default.
func lan() *memberlist.Config { return memberlist.DefaultLANConfig() }

func tuned() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.ProbeInterval, c.ProbeTimeout = 200*time.Millisecond, 100*time.Millisecond
	c.GossipInterval, c.PushPullInterval = 50*time.Millisecond, 2*time.Second
	c.TCPTimeout = time.Second
	return c
}

func newPlains(n int, network *Network, config func() *memberlist.Config) (*plains, error) {
	c := &plains{net: network, names: Names(n), live: map[string]*bare{}}
	for _, name := range c.names {
		mc := config()
		port := network.Listen(Address(name))
		mc.Name, mc.Transport = name, port
		mc.BindAddr, mc.BindPort = split(Address(name))
		mc.AdvertiseAddr, mc.AdvertisePort = mc.BindAddr, mc.BindPort
		mc.Logger = log.New(io.Discard, "", 0)
		mc.Events = eyes{c, name}
		list, err := memberlist.Create(mc)
		if err != nil {
			return c, err
		}
		c.live[name] = &bare{port, list}
		if _, err := list.Join([]string{Address("n1")}); err != nil {
			return c, err
		}
	}
	return c, nil
}

// eyes note whom a member gives up.
type eyes struct {
	c    *plains
	name string
}

// NotifyJoin implements memberlist.EventDelegate.
func (eyes) NotifyJoin(*memberlist.Node) {}

// NotifyUpdate implements memberlist.EventDelegate.
func (eyes) NotifyUpdate(*memberlist.Node) {}

// NotifyLeave implements memberlist.EventDelegate.
func (e eyes) NotifyLeave(n *memberlist.Node) {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	e.c.seen = append(e.c.seen, Sight{Observer: e.name, Subject: n.Name, At: time.Now()})
}

func (c *plains) gather(ctx context.Context) error {
	return await(ctx, "all members know each other", 3*time.Minute, func() bool {
		for _, b := range c.live {
			if b.list.NumMembers() != len(c.live) {
				// As every user of memberlist does after a split.
				_, _ = b.list.Join([]string{Address(c.first())})
				return false
			}
		}
		return true
	})
}

// first is the first member that runs.
func (c *plains) first() string {
	for _, n := range c.names {
		if c.live[n] != nil {
			return n
		}
	}
	return ""
}

func (c *plains) crash(name string) {
	c.net.Vanish(Address(name))
	b := c.live[name]
	delete(c.live, name)
	_ = b.list.Shutdown()
}

func (c *plains) kill(name string) { c.crash(name) }

func (c *plains) freeze(name string, on bool) { c.net.Freeze(Address(name), on) }

func (c *plains) sights() []Sight {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Sight
	for _, s := range c.seen {
		if c.live[s.Observer] != nil { // the dead have nothing to say
			out = append(out, s)
		}
	}
	c.seen = nil
	return out
}

func (c *plains) sent() Sent {
	var sum Sent
	for _, b := range c.live {
		s := b.port.Sent()
		sum.Messages, sum.Bytes = sum.Messages+s.Messages, sum.Bytes+s.Bytes
	}
	return sum
}

func (c *plains) stop() {
	for _, b := range c.live {
		_ = b.list.Shutdown()
	}
	pass(time.Minute) // its timers and probes run out
}
