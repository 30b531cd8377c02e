package gossip_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"healer/detector"
	"healer/detector/gossip"
	"healer/detector/gossip/sim"
)

// cluster is detectors over a network in memory.
type cluster struct {
	t      *testing.T
	net    *sim.Network
	world  *sim.World
	names  []string
	agents map[string]*detector.Detector
	gossip map[string]*gossip.Gossip
	// builds are what agents tell of their version.
	builds map[string]string
}

func address(name string) string { return "10.0.0." + strings.TrimPrefix(name, "n") + ":7946" }

// newCluster starts n detectors; loss is the share of packets that get lost.
func newCluster(t *testing.T, n int, loss float64) *cluster {
	c := &cluster{
		t: t, net: sim.NewNetwork(1, loss),
		agents: map[string]*detector.Detector{}, gossip: map[string]*gossip.Gossip{},
	}
	for i := range n {
		c.names = append(c.names, fmt.Sprintf("n%d", i+1))
	}
	c.world = sim.NewWorld(c.names...)
	for _, name := range c.names {
		c.start(name)
	}
	t.Cleanup(func() {
		for name := range c.agents {
			c.stop(name)
		}
		linger()
	})
	return c
}

func (c *cluster) start(name string) {
	c.t.Helper()
	probers := map[string]detector.Prober{}
	var members []gossip.Member
	for _, m := range c.names {
		probers[m] = c.world.Prober(name, m)
		members = append(members, gossip.Member{Name: m, Addr: address(m)})
	}
	g, err := gossip.New(gossip.Config{
		Self: name, Cluster: "test", Members: members, Transport: c.net.Listen(address(name)), Build: c.builds[name], Log: discard(),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	d, err := detector.New(detector.Options{Self: name, Members: c.names, Probers: probers, Gossip: g, Log: discard()})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := d.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.agents[name], c.gossip[name] = d, g
}

// linger gives memberlist's goroutines the time to end: its Shutdown does not
// wait for a probe that is under way.
func linger() { time.Sleep(10 * time.Second) }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// stop ends an agent without a farewell.
func (c *cluster) stop(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.agents[name].Stop(ctx); err != nil {
		c.t.Errorf("stop %s: %v", name, err)
	}
	delete(c.agents, name)
}

// leave ends an agent as one that is told to stop does.
func (c *cluster) leave(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	if err := c.agents[name].Leave(ctx); err != nil {
		c.t.Fatal(err)
	}
	delete(c.agents, name)
}

// crash makes an agent vanish: nothing of it reaches anybody from now on.
func (c *cluster) crash(name string) {
	for _, other := range c.names {
		c.net.Sever(address(name), address(other), true)
	}
	c.stop(name)
	for _, other := range c.names {
		c.net.Sever(address(name), address(other), false)
	}
}

// isolate cuts a host from the others, or joins it to them: gossip and SQL.
func (c *cluster) isolate(name string, cut bool) {
	for _, other := range c.names {
		if other != name {
			c.net.Sever(address(name), address(other), cut)
			c.world.Sever(name, other, cut)
			c.world.Sever(other, name, cut)
		}
	}
}

func (c *cluster) verdict(agent, node string) detector.Verdict {
	vs := c.agents[agent].Verdicts()
	return vs[slices.IndexFunc(vs, func(v detector.Verdict) bool { return v.Node == node })]
}

// await waits, in the bubble's time, until ok holds, and returns how long.
func (c *cluster) await(what string, limit time.Duration, ok func() bool) time.Duration {
	c.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > limit {
			for a := range c.agents {
				for _, v := range c.agents[a].Verdicts() {
					c.t.Logf("%s says of %s: %s %s (%s)", a, v.Node, v.Life, v.Incarnation, v.Reason)
				}
			}
			c.t.Fatalf("after %s still not: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

// all reports whether every running agent holds that node is in that life.
func (c *cluster) all(node string, life detector.Life) func() bool {
	return func() bool {
		for a := range c.agents {
			if c.verdict(a, node).Life != life {
				return false
			}
		}
		return true
	}
}

func (c *cluster) allUp() {
	c.t.Helper()
	for _, n := range c.names {
		c.await(n+" is up everywhere", 10*time.Second, c.all(n, detector.LifeUp))
	}
	c.await("all agents know each other", 10*time.Second, func() bool {
		for a := range c.agents {
			if len(c.agents[a].Agents()) != len(c.agents) {
				return false
			}
		}
		return true
	})
}

// sameIncarnation fails the test when the agents name different lives of node.
func (c *cluster) sameIncarnation(node string) string {
	c.t.Helper()
	seen := map[string][]string{}
	for a := range c.agents {
		inc := c.verdict(a, node).Incarnation
		seen[inc] = append(seen[inc], a)
	}
	if len(seen) != 1 {
		c.t.Fatalf("the agents name different incarnations of %s: %v", node, seen)
	}
	for inc := range seen {
		return inc
	}
	return ""
}

// never fails the test if ok holds at any time during the duration.
func (c *cluster) never(what string, during time.Duration, ok func() bool) {
	c.t.Helper()
	for begin := time.Now(); time.Since(begin) < during; time.Sleep(5 * time.Millisecond) {
		if ok() {
			c.t.Fatalf("it happened: %s", what)
		}
	}
}

func TestNodeKilled(t *testing.T) {
	for _, loss := range []float64{0, 0.3} {
		t.Run(fmt.Sprintf("loss %v", loss), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, loss)
				c.allUp()
				up := c.sameIncarnation("n3")
				time.Sleep(5*time.Second + 70*time.Millisecond) // between two probes
				c.world.Kill("n3")
				took := c.await("n3 failed", 5*time.Second, c.all("n3", detector.LifeFailed))
				if loss == 0 && took > 20*time.Millisecond {
					t.Errorf("failed %s after the kill: the open sessions show it at once", took)
				}
				if inc := c.sameIncarnation("n3"); inc != up {
					t.Errorf("failed as %s, was up as %s", inc, up)
				}
				if v := c.verdict("n1", "n3"); v.Condition != detector.PostmasterGone {
					t.Errorf("condition %q: want %q", v.Condition, detector.PostmasterGone)
				}

				// It comes back, is admitted by one agent, and all follow.
				c.world.Restart("n3")
				c.await("n3 returning", 5*time.Second, c.all("n3", detector.LifeReturning))
				if inc := c.sameIncarnation("n3"); inc != up {
					t.Errorf("returning as %s, failed as %s", inc, up)
				}
				if !c.agents["n2"].Admit("n3") {
					t.Error("n2 does not admit n3")
				}
				c.await("n3 up", 5*time.Second, c.all("n3", detector.LifeUp))
				if inc := c.sameIncarnation("n3"); inc == up || !strings.HasSuffix(inc, ".1") {
					t.Errorf("up again as %s, was %s: want another start and episode 1", inc, up)
				}
			})
		})
	}
}

// The whole host of a node goes, with its agent.
func TestHostVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0.1)
		c.allUp()
		vanished := time.Now()
		c.isolate("n3", true)
		c.stop("n3") // which takes its time: its leave reaches nobody
		c.await("n3 failed", 20*time.Second, c.all("n3", detector.LifeFailed))
		took := time.Since(vanished)
		t.Logf("failed on both survivors %s after the host vanished, in the bubble's time", took)
		c.sameIncarnation("n3")
		if took < time.Second {
			t.Errorf("silence of %s was enough", took)
		}
		c.await("the agent is missed", 10*time.Second, func() bool {
			return slices.Equal(c.agents["n1"].Agents(), []string{"n1", "n2"})
		})
	})
}

func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0.1)
		c.allUp()
		c.isolate("n3", true)
		c.await("the majority fails n3", 20*time.Second, func() bool {
			return c.verdict("n1", "n3").Life == detector.LifeFailed && c.verdict("n2", "n3").Life == detector.LifeFailed
		})
		c.await("the minority abstains", 20*time.Second, func() bool {
			a, b := c.verdict("n3", "n1"), c.verdict("n3", "n2")
			return a.Abstained && b.Abstained && a.Life == detector.LifeSuspected
		})
		c.never("the minority failed a node", 30*time.Second, func() bool {
			return c.verdict("n3", "n1").Life == detector.LifeFailed || c.verdict("n3", "n2").Life == detector.LifeFailed
		})
		c.await("memberlist has given n3 up", 60*time.Second, func() bool { return len(c.agents["n1"].Agents()) == 2 })

		c.isolate("n3", false)
		// n3 itself never thought that it failed; it learns so from the others.
		c.await("n3 returns everywhere", 20*time.Second, c.all("n3", detector.LifeReturning))
		c.await("the others are up for n3", 20*time.Second, c.all("n1", detector.LifeUp))
		c.sameIncarnation("n3")
		c.agents["n3"].Admit("n3")
		c.allUp()
		c.sameIncarnation("n3")
	})
}

func TestAgentDeathIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0)
		c.allUp()
		c.crash("n3")
		c.await("the agent is missed", 20*time.Second, func() bool {
			return slices.Contains(c.verdict("n1", "n3").Findings, detector.AgentGone) && len(c.agents["n2"].Agents()) == 2
		})
		c.never("n3 failed or is suspected", 10*time.Second, func() bool {
			return c.verdict("n1", "n3").Life != detector.LifeUp || c.verdict("n2", "n3").Life != detector.LifeUp
		})
		// The agent comes back and is one of them again.
		c.start("n3")
		c.allUp()
	})
}

// An agent that was killed on a host that lives is missed as soon as it has been
// silent, and is one of them again as soon as it is back. Nobody misses one that is only
// cut off, or paused, before memberlist does.
func TestKilledAgentIsMissedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0)
		c.allUp()
		missed := func() bool { return len(c.agents["n1"].Agents()) == 2 && len(c.agents["n2"].Agents()) == 2 }
		c.net.Vanish(address("n3"))
		if took := c.await("the agent is missed", 20*time.Second, missed); took > 600*time.Millisecond {
			t.Errorf("it is missed after %s", took)
		}
		c.stop("n3")
		c.start("n3")
		c.allUp()
		c.net.Freeze(address("n3"), true)
		if took := c.await("the paused agent is missed", 20*time.Second, missed); took < time.Second {
			t.Errorf("it is missed after %s, and its host takes connections", took)
		}
		c.net.Freeze(address("n3"), false)
		c.allUp()
	})
}

func TestFalseSuspicionIsRefuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0)
		c.allUp()
		watch := c.agents["n1"].Watch(t.Context())
		for range c.names {
			<-watch
		}
		// Two of three cannot reach n3, whose own agent can: the port is
		// filtered, gossip is not.
		c.world.Sever("n1", "n3", true)
		c.world.Sever("n2", "n3", true)
		c.never("n3 failed", 20*time.Second, func() bool {
			return c.verdict("n1", "n3").Life == detector.LifeFailed || c.verdict("n2", "n3").Life == detector.LifeFailed
		})
		if v := c.verdict("n1", "n3"); !strings.Contains(v.Reason, "n3 had an answer") || len(v.Evidence) != 3 {
			t.Errorf("the verdict does not show who refutes: %+v", v)
		}
		// An answer that is repeated all the while outlives every accusation.
		for more := true; more; {
			select {
			case v := <-watch:
				if v.Life != detector.LifeUp {
					t.Errorf("%s is %s for n1 (%s)", v.Node, v.Life, v.Reason)
				}
			default:
				more = false
			}
		}
	})
}

func TestHungServerAndItsWaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0)
		c.allUp()
		c.world.Hang("n2")
		c.await("n2 failed", 20*time.Second, c.all("n2", detector.LifeFailed))
		if v := c.verdict("n1", "n2"); v.Condition != detector.Hung {
			t.Errorf("condition %q: want %q", v.Condition, detector.Hung)
		}
		c.world.Wake("n2")
		took := c.await("n2 returning", 20*time.Second, c.all("n2", detector.LifeReturning))
		if took > time.Second {
			t.Errorf("the answer of a server that woke was seen after %s", took)
		}
	})
}

func TestPlannedLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0.1)
		c.allUp()
		c.leave("n3")
		c.world.Kill("n3")
		c.await("n3 left", 5*time.Second, c.all("n3", detector.LifeLeft))
		c.never("n3 failed", 20*time.Second, func() bool { return !c.all("n3", detector.LifeLeft)() })
		// An agent that starts afterwards hears of the leave.
		c.stop("n2")
		c.start("n2")
		c.await("n2 knows that n3 left", 10*time.Second, c.all("n3", detector.LifeLeft))
		c.world.Restart("n3")
		c.start("n3")
		c.allUp()
		c.sameIncarnation("n3")
	})
}

// An agent that is stopped beside a server that has just died does not call that a
// plan: whoever stopped it may only have wanted to look.
func TestLeaveBesideADeadServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0)
		c.allUp()
		c.world.Kill("n3")
		c.leave("n3")
		c.await("n3 failed", 5*time.Second, c.all("n3", detector.LifeFailed))
	})
}

// Agents of another cluster on the same network are not heard, but counted.
func TestAnotherClusterIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 0)
		c.allUp()
		g, err := gossip.New(gossip.Config{
			Self: "n1", Cluster: "other", Log: discard(), Transport: c.net.Listen("10.0.0.9:7946"),
			Members: []gossip.Member{{Name: "n1", Addr: "10.0.0.9:7946"}, {Name: "n2", Addr: address("n2")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		in := &recorder{}
		if err := g.Start(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		before := c.gossip["n2"].Refused()
		g.Send([]detector.Evidence{{Observer: "n1", Subject: "n2", Seq: 1 << 62, Condition: detector.Refused}}, true)
		time.Sleep(5 * time.Second)
		if c.gossip["n2"].Refused() == before {
			t.Error("nothing was counted as refused")
		}
		if in.count() != 0 || len(g.Agents()) != 1 {
			t.Errorf("the other cluster heard %d messages, knows %v", in.count(), g.Agents())
		}
		if err := g.Stop(t.Context(), nil); err != nil {
			t.Error(err)
		}
		c.allUp()
	})
}

// An agent under a name that is not configured is not let in.
func TestUnconfiguredNameIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, 0)
		c.allUp()
		g, err := gossip.New(gossip.Config{
			Self: "n9", Cluster: "test", Log: discard(), Transport: c.net.Listen("10.0.0.9:7946"),
			Members: []gossip.Member{{Name: "n9", Addr: "10.0.0.9:7946"}, {Name: "n1", Addr: address("n1")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Start(t.Context(), &recorder{}); err != nil {
			t.Fatal(err)
		}
		g.Send([]detector.Evidence{{Observer: "n9", Subject: "n1", Seq: 1, Condition: detector.Refused}}, true)
		c.never("n9 is a member", 5*time.Second, func() bool {
			return slices.Contains(c.agents["n1"].Agents(), "n9")
		})
		if c.gossip["n1"].Refused() == 0 {
			t.Error("nothing was counted as refused")
		}
		if err := g.Stop(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}
