package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"

	"healer/control"
	"healer/topology"
)

// Member is one configured agent.
type Member struct {
	// Name is the node's name.
	Name string
	// Addr is the host and port at which its agent gossips.
	Addr string
}

// Config configures a Gossip. Zero durations take their defaults.
type Config struct {
	// Self is the name of this agent's node, one of Members.
	Self string
	// Cluster separates meshes that can reach each other.
	Cluster string
	// Members are all that may join, witnesses included.
	Members []Member
	// Build is the version of this agent's program, of at most MaxBuild bytes: the
	// others are told.
	Build string
	// KeyFile holds the keys of encrypted gossip; empty leaves it in the clear.
	// See ReadKeys for its form. It is read again whenever it changes.
	KeyFile string
	// OnConflict is called when another agent is found under this one's name,
	// once for each such agent and again every ten seconds while it stays; when
	// this one is the one refused, once. May be nil. Stop waits for it.
	OnConflict func(Conflict)

	// ProbeInterval and ProbeTimeout are how often one other agent is asked
	// whether it lives, and how long it may take to answer.
	ProbeInterval time.Duration
	ProbeTimeout  time.Duration
	// GossipInterval is the time between two rounds of gossip.
	GossipInterval time.Duration
	// ExchangeInterval is the time between two exchanges of full states with
	// one other agent.
	ExchangeInterval time.Duration
	// JoinInterval is the time between two attempts to reach missing members.
	JoinInterval time.Duration
	// StreamTimeout bounds dialing and each exchange over TCP.
	StreamTimeout time.Duration

	// Control is exchanged beside the evidence; may be nil.
	Control *control.Store
	// Logs are exchanged as well; may be nil.
	Logs Logs

	// Transport replaces UDP and TCP on this member's address; for tests.
	Transport memberlist.NodeAwareTransport
	// Log is required.
	Log *slog.Logger
}

// MaxBuild bounds what an agent tells of its version.
const MaxBuild = 64

// Defaults for a local network.
const (
	defaultProbeInterval    = 200 * time.Millisecond
	defaultProbeTimeout     = 100 * time.Millisecond
	defaultGossipInterval   = 50 * time.Millisecond
	defaultExchangeInterval = 2 * time.Second
	defaultJoinInterval     = time.Second
	defaultStreamTimeout    = time.Second
	// leaveTimeout bounds how long memberlist may take to spread a leave.
	leaveTimeout = 500 * time.Millisecond
)

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.ProbeInterval, defaultProbeInterval)
	def(&c.ProbeTimeout, defaultProbeTimeout)
	def(&c.GossipInterval, defaultGossipInterval)
	def(&c.ExchangeInterval, defaultExchangeInterval)
	def(&c.JoinInterval, defaultJoinInterval)
	def(&c.StreamTimeout, defaultStreamTimeout)
	return c
}

func (c Config) validate() error {
	if c.Log == nil {
		return errors.New("gossip: no log")
	}
	if c.Cluster == "" || len(c.Cluster) > memberlist.LabelMaxSize-len(labelPrefix) {
		return fmt.Errorf("gossip: the cluster's name %q is empty or too long", c.Cluster)
	}
	if _, ok := c.member(c.Self); !ok {
		return fmt.Errorf("gossip: %q is not one of the members", c.Self)
	}
	return nil
}

func (c Config) member(name string) (Member, bool) {
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return c.Members[i], true
}

// labelPrefix makes the label of a cluster tell what speaks here, too.
const labelPrefix = "healer/"

// memberlist translates the configuration.
func (c Config) memberlist(self netip.AddrPort, keys *keyring) *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	m.Name = c.Self
	if keys != nil {
		m.Keyring = keys.list
	}
	m.Label = labelPrefix + c.Cluster
	m.SkipInboundLabelCheck = true // the guard has done it
	m.BindAddr, m.BindPort = self.Addr().String(), int(self.Port())
	m.AdvertiseAddr, m.AdvertisePort = m.BindAddr, m.BindPort
	m.ProbeInterval, m.ProbeTimeout = c.ProbeInterval, c.ProbeTimeout
	m.GossipInterval, m.PushPullInterval = c.GossipInterval, c.ExchangeInterval
	m.TCPTimeout = c.StreamTimeout
	m.EnableCompression = false // the messages are small, the agents next to databases
	// An agent may come back at another address as soon as it is known dead.
	m.DeadNodeReclaimTime = c.JoinInterval
	m.Logger = newLogger(c.Log)
	return m
}

// resolve finds the address to use for host:port. Of several, the first one
// that is IPv4 counts, else the first.
func resolve(ctx context.Context, addr string) (netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("gossip address %q: %w", addr, err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("gossip address %q: the port is not a number", addr)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(ips) == 0 {
		return netip.AddrPort{}, fmt.Errorf("gossip address %q: %w", addr, err)
	}
	first := max(slices.IndexFunc(ips, func(ip netip.Addr) bool { return ip.Unmap().Is4() }), 0)
	return netip.AddrPortFrom(ips[first].Unmap(), uint16(port)), nil
}

// listen opens the transport on this member's own address.
func (c Config) listen(self netip.AddrPort) (memberlist.NodeAwareTransport, error) {
	if c.Transport != nil {
		return c.Transport, nil
	}
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{self.Addr().String()}, BindPort: int(self.Port()), Logger: newLogger(c.Log),
	})
	if err != nil {
		return nil, &topology.Fault{
			Class: topology.Permanent, Code: "gossip_bind", Node: c.Self, Err: err,
			Hint: fmt.Sprintf("the agent gossips on %s, TCP and UDP: stop what listens there (ss -lntup 'sport = :%d'), "+
				"or set nodes[%s].gossip to an address of this host", self, self.Port(), c.Self),
		}
	}
	return t, nil
}
