package gossip_test

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"healer/detector"
	"healer/detector/gossip"
	"healer/detector/gossip/sim"
)

// healWithin is how soon after the end of a partition all agents agree.
const healWithin = 5 * time.Second

// split puts each of the names into one of up to three groups, by the seed, so that
// there are two at least.
func split(seed uint64, names []string) map[string]int {
	dice := rand.New(rand.NewPCG(seed, 1))
	for {
		groups := map[string]int{}
		kinds := map[int]bool{}
		for _, n := range names {
			groups[n] = dice.IntN(2 + int(seed%2))
			kinds[groups[n]] = true
		}
		if len(kinds) > 1 {
			return groups
		}
	}
}

// Whatever the split, however long it lasted, and whether the lines were cut in both
// directions or in one: soon after its end all members know each other.
func TestMembershipHeals(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network := sim.NewNetwork(seed+1, []float64{0, 0.2}[seed%2])
				names := sim.Names(3 + int(seed%5))
				var all []*member
				for _, n := range names {
					var peers []string
					for _, p := range names {
						if p != n {
							peers = append(peers, p+"="+sim.Address(p))
						}
					}
					all = append(all, join(t, network, n, sim.Address(n), "c", "", peers...))
				}
				eventually(t, "all are members", 10*time.Second, together(all...))
				for _, lasts := range []time.Duration{time.Second, 7 * time.Second, 90 * time.Second} {
					groups := split(seed+uint64(lasts), names)
					oneWay := seed%3 == 0
					sever := func(cut bool) {
						for _, a := range names {
							for _, b := range names {
								if groups[a] != groups[b] && (!oneWay || groups[a] < groups[b]) {
									network.SeverOneWay(sim.Address(a), sim.Address(b), cut)
								}
							}
						}
					}
					sever(true)
					time.Sleep(lasts)
					sever(false)
					eventually(t, fmt.Sprintf("healed after %s of %v", lasts, groups), healWithin, together(all...))
				}
			})
		})
	}
}

// After any split the agents agree about every node: who lives, and in which life.
func TestVerdictsAgreeAfterAnySplit(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3+2*int(seed%2), 0.1)
				c.allUp()
				groups := split(seed, c.names)
				sever := func(cut bool) {
					for _, a := range c.names {
						for _, b := range c.names {
							if groups[a] != groups[b] {
								c.net.SeverOneWay(address(a), address(b), cut)
								c.world.Sever(a, b, cut)
							}
						}
					}
				}
				sever(true)
				time.Sleep([]time.Duration{2 * time.Second, 12 * time.Second}[seed/2])
				sever(false)
				c.await(fmt.Sprintf("the agents agree after %v", groups), healWithin, c.agree)
			})
		})
	}
}

// agree reports whether all agents know each other and say the same of every node,
// and none is in doubt.
func (c *cluster) agree() bool {
	for _, node := range c.names {
		first := c.verdict(c.names[0], node)
		for _, a := range c.names {
			v := c.verdict(a, node)
			if v.Life != first.Life || v.Incarnation != first.Incarnation || v.Life == detector.LifeSuspected || v.Life == detector.LifeFailed {
				return false
			}
			if len(c.agents[a].Agents()) != len(c.names) {
				return false
			}
		}
	}
	return true
}

// A member that is stopped and goes on is missed meanwhile, and blames nobody: the
// others never miss one another.
func TestPausedMemberBlamesNobody(t *testing.T) {
	for i, lasts := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second} {
		t.Run(lasts.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				network := sim.NewNetwork(uint64(i+1), 0.05)
				names := sim.Names(5)
				var all []*member
				for _, n := range names {
					var peers []string
					for _, p := range names {
						if p != n {
							peers = append(peers, p+"="+sim.Address(p))
						}
					}
					all = append(all, join(t, network, n, sim.Address(n), "c", "", peers...))
				}
				eventually(t, "all are members", 10*time.Second, together(all...))
				healthy := func() {
					for _, m := range all[1:] {
						for _, n := range names[1:] {
							if !slices.Contains(m.Agents(), n) {
								t.Fatalf("%s misses %s", m.name, n)
							}
						}
					}
				}
				network.Freeze(sim.Address("n1"), true)
				for range int(lasts / (50 * time.Millisecond)) {
					time.Sleep(50 * time.Millisecond)
					healthy()
				}
				network.Freeze(sim.Address("n1"), false)
				for range 200 {
					time.Sleep(50 * time.Millisecond)
					healthy()
				}
				if !together(all...)() {
					t.Error("the paused member is not back")
				}
			})
		})
	}
}

// valve is a transport over real sockets whose way to some addresses can be cut.
type valve struct {
	memberlist.NodeAwareTransport
	mu  sync.Mutex
	cut map[string]bool
}

func (v *valve) set(addr string, cut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cut[addr] = cut
}

func (v *valve) shut(addr string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cut[addr]
}

func (v *valve) WriteTo(b []byte, addr string) (time.Time, error) {
	if v.shut(addr) {
		return time.Now(), nil
	}
	return v.NodeAwareTransport.WriteTo(b, addr)
}

func (v *valve) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if v.shut(a.Addr) {
		return time.Now(), nil
	}
	return v.NodeAwareTransport.WriteToAddress(b, a)
}

func (v *valve) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if v.shut(addr) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("cut")}
	}
	return v.NodeAwareTransport.DialTimeout(addr, timeout)
}

func (v *valve) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return v.DialTimeout(a.Addr, timeout)
}

// Over real sockets and with encryption: a split, each side misses the other, and
// both find each other again.
func TestHealsOverRealSockets(t *testing.T) {
	t.Parallel()
	keys := newKeyFile(t, gossip.NewKey())
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	var members []gossip.Member
	for i, a := range addrs {
		members = append(members, gossip.Member{Name: fmt.Sprintf("n%d", i+1), Addr: a})
	}
	var valves []*valve
	var all []*gossip.Gossip
	for i, m := range members {
		host, port, err := net.SplitHostPort(addrs[i])
		if err != nil {
			t.Fatal(err)
		}
		number, err := net.LookupPort("tcp", port)
		if err != nil {
			t.Fatal(err)
		}
		sockets, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{host}, BindPort: number, Logger: log.New(io.Discard, "", 0),
		})
		if err != nil {
			t.Fatal(err)
		}
		valves = append(valves, &valve{NodeAwareTransport: sockets, cut: map[string]bool{}})
		g, err := gossip.New(gossip.Config{
			Self: m.Name, Cluster: "test", Members: members, KeyFile: keys.path, Transport: valves[i], Log: discard(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Start(t.Context(), &recorder{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Stop(t.Context(), nil) })
		all = append(all, g)
	}
	see := func(what string, want ...int) {
		t.Helper()
		limit := time.After(60 * time.Second)
		for {
			ok := true
			for i, g := range all {
				ok = ok && len(g.Agents()) == want[i]
			}
			if ok {
				return
			}
			select {
			case <-limit:
				t.Fatalf("not within a minute: %s", what)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	cut := func(on bool) {
		for i := range 2 {
			valves[i].set(addrs[2], on)
			valves[2].set(addrs[i], on)
		}
	}
	see("all know each other", 3, 3, 3)
	cut(true)
	see("each side misses the other", 2, 2, 1)
	cut(false)
	see("all know each other again", 3, 3, 3)
}
