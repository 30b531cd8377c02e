package gossip_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"healer/detector"
	"healer/detector/gossip"
	"healer/detector/gossip/sim"
)

// keyFile is one agent's file of keys.
type keyFile struct {
	t    *testing.T
	path string
}

func newKeyFile(t *testing.T, keys ...string) keyFile {
	f := keyFile{t, filepath.Join(t.TempDir(), "gossip.keys")}
	f.write(keys...)
	return f
}

// write replaces the keys. A bubble's clock is not the file system's, so the
// time of each change is set by hand.
func (f keyFile) write(keys ...string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(f.path, time.Time{}, time.Now()); err != nil {
		f.t.Fatal(err)
	}
}

// member is a Gossip without a detector, which says something every 200 ms.
type member struct {
	*gossip.Gossip
	name      string
	in        *recorder
	mu        sync.Mutex
	conflicts []gossip.Conflict
}

func (m *member) conflict(k gossip.Conflict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conflicts = append(m.conflicts, k)
}

func (m *member) told() []gossip.Conflict {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.conflicts)
}

func (m *member) refused(why gossip.Reason) uint64 {
	for _, r := range m.Status().Refusals {
		if r.Reason == why {
			return r.Count
		}
	}
	return 0
}

// join starts a member at an address of its own; peers are name=address.
func join(t *testing.T, net *sim.Network, name, addr, cluster, keys string, peers ...string) *member {
	t.Helper()
	m := &member{name: name, in: &recorder{}}
	members := []gossip.Member{{Name: name, Addr: addr}}
	for _, p := range peers {
		n, a, _ := strings.Cut(p, "=")
		members = append(members, gossip.Member{Name: n, Addr: a})
	}
	g, err := gossip.New(gossip.Config{
		Self: name, Cluster: cluster, Members: members, KeyFile: keys, OnConflict: m.conflict,
		Transport: net.Listen(addr), Log: discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Gossip = g
	if err := g.Start(t.Context(), m.in); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for seq := uint64(1); ; seq++ {
			select {
			case <-done:
				return
			case <-time.After(200 * time.Millisecond):
				g.Send([]detector.Evidence{{Observer: name, Subject: name, Seq: seq, Condition: detector.Answered}}, false)
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-stopped
		if err := g.Stop(t.Context(), nil); err != nil {
			t.Error(err)
		}
		linger()
	})
	return m
}

func eventually(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > limit {
			t.Fatalf("after %s still not: %s", limit, what)
		}
	}
}

func together(ms ...*member) func() bool {
	return func() bool {
		for _, m := range ms {
			if len(m.Agents()) != len(ms) {
				return false
			}
		}
		return true
	}
}

// Keys change while the agents run, in the order of the handbook, and nobody is
// missed at any time. What was removed opens nothing any more.
func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := gossip.NewKey(), gossip.NewKey()
		net := sim.NewNetwork(1, 0)
		taps := &tap{}
		net.Tap = taps.take
		f1, f2 := newKeyFile(t, old), newKeyFile(t, old)
		a := join(t, net, "n1", "10.0.0.1:7946", "c", f1.path, "n2=10.0.0.2:7946")
		b := join(t, net, "n2", "10.0.0.2:7946", "c", f2.path, "n1=10.0.0.1:7946")
		eventually(t, "both are members", 5*time.Second, together(a, b))
		for _, keys := range [][]string{{old, fresh}, {fresh, old}, {fresh}} {
			for _, f := range []keyFile{f1, f2} {
				f.write(keys...)
				for range 300 {
					time.Sleep(10 * time.Millisecond)
					if !together(a, b)() {
						t.Fatalf("with %d keys a member is missed", len(keys))
					}
				}
			}
		}
		for _, m := range []*member{a, b} {
			if s := m.Status(); !s.Encrypted || s.Keys != 1 || s.KeyProblem != "" || m.Refused() != 0 {
				t.Errorf("%s: status %+v", m.name, s)
			}
		}
		if taps.saw(`"observer"`) || !taps.saw("healer/c") {
			t.Error("what was sent can be read, or is not what was looked at")
		}
		// An agent that missed the change is refused, and refuses.
		late := newKeyFile(t, old)
		c := join(t, net, "n1", "10.0.0.3:7946", "c", late.path, "n2=10.0.0.2:7946")
		eventually(t, "the old key is refused", 5*time.Second, func() bool { return b.refused(gossip.WrongKey) > 0 })
		if slices.Contains(c.Agents(), "n2") {
			t.Error("an agent with a key that was removed is let in")
		}
	})
}

// A file that cannot be used leaves the keys as they are, and says so.
func TestBrokenKeyFileChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := gossip.NewKey()
		net := sim.NewNetwork(1, 0)
		f1, f2 := newKeyFile(t, key), newKeyFile(t, key)
		a := join(t, net, "n1", "10.0.0.1:7946", "c", f1.path, "n2=10.0.0.2:7946")
		b := join(t, net, "n2", "10.0.0.2:7946", "c", f2.path, "n1=10.0.0.1:7946")
		eventually(t, "both are members", 5*time.Second, together(a, b))
		f1.write("no key")
		eventually(t, "the problem shows", 5*time.Second, func() bool { return strings.Contains(a.Status().KeyProblem, "line 1") })
		time.Sleep(10 * time.Second)
		if !together(a, b)() || a.Refused()+b.Refused() != 0 {
			t.Error("a member was lost over a file that cannot be used")
		}
		f1.write(key)
		eventually(t, "the problem is gone", 5*time.Second, func() bool { return a.Status().KeyProblem == "" })
	})
}

// Who has another cluster's name, another key, none, or one where there should be
// none, is refused on both sides and counted by what it did.
func TestStrangersAreCounted(t *testing.T) {
	for _, c := range []struct {
		name         string
		cluster      string
		ours, theirs string
		here, there  gossip.Reason
	}{
		{name: "other cluster", cluster: "d", here: gossip.OtherCluster, there: gossip.OtherCluster},
		{name: "other key", cluster: "c", ours: gossip.NewKey(), theirs: gossip.NewKey(), here: gossip.WrongKey, there: gossip.WrongKey},
		{name: "no key", cluster: "c", ours: gossip.NewKey(), here: gossip.NotEncrypted, there: gossip.Encrypted},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := sim.NewNetwork(1, 0)
				file := func(key string) string {
					if key == "" {
						return ""
					}
					return newKeyFile(t, key).path
				}
				a := join(t, net, "n1", "10.0.0.1:7946", "c", file(c.ours), "n2=10.0.0.2:7946")
				b := join(t, net, "n2", "10.0.0.2:7946", c.cluster, file(c.theirs), "n1=10.0.0.1:7946")
				eventually(t, "both refuse", 10*time.Second, func() bool { return a.refused(c.here) > 0 && b.refused(c.there) > 0 })
				if len(a.Agents()) != 1 || len(b.Agents()) != 1 || a.in.count()+b.in.count() != 0 {
					t.Errorf("they heard each other: %v, %v", a.Agents(), b.Agents())
				}
			})
		})
	}
}

// A second agent under a name that is in use is refused: it learns so itself, the
// first one learns of it, and nothing of the second is heard by anybody.
func TestSecondAgentOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := sim.NewNetwork(1, 0)
		a := join(t, net, "n1", "10.0.0.1:7946", "c", "", "n2=10.0.0.2:7946", "n3=10.0.0.3:7946")
		b := join(t, net, "n2", "10.0.0.2:7946", "c", "", "n1=10.0.0.1:7946", "n3=10.0.0.3:7946")
		c := join(t, net, "n3", "10.0.0.3:7946", "c", "", "n1=10.0.0.1:7946", "n2=10.0.0.2:7946")
		eventually(t, "all are members", 5*time.Second, together(a, b, c))
		time.Sleep(10 * time.Second)
		second := join(t, net, "n1", "10.0.0.9:7946", "c", "", "n2=10.0.0.2:7946", "n3=10.0.0.3:7946")
		eventually(t, "both are told", 3*time.Second, func() bool { return len(second.told()) == 1 && len(a.told()) >= 1 })
		for _, k := range append(second.told(), a.told()...) {
			if k.Name != "n1" || k.Holder.Addr != "10.0.0.1:7946" || k.Refused.Addr != "10.0.0.9:7946" || k.Holder.Since.IsZero() {
				t.Errorf("conflict %+v", k)
			}
		}
		if s := second.Status(); !s.Refused || !slices.Equal(second.Agents(), []string{"n1"}) {
			t.Errorf("the second takes part: %+v, %v", s, second.Agents())
		}
		if s := a.Status(); s.Refused || s.Conflict == nil {
			t.Errorf("the first: %+v", s)
		}
		if b.refused(gossip.NameInUse)+c.refused(gossip.NameInUse) == 0 {
			t.Error("the others have not counted it")
		}
		heard := b.in.count() + c.in.count()
		second.Send([]detector.Evidence{{Observer: "n1", Subject: "n2", Seq: 1 << 60, Condition: detector.Refused}}, true)
		time.Sleep(time.Second)
		for _, r := range []*recorder{b.in, c.in} {
			r.mu.Lock()
			if slices.ContainsFunc(r.heard, func(e detector.Evidence) bool { return e.Seq == 1<<60 }) {
				t.Error("the second agent is heard")
			}
			r.mu.Unlock()
		}
		if b.in.count()+c.in.count() == heard {
			t.Error("nobody is heard at all")
		}
		// The end of the second does not look like one of the first.
		if err := second.Stop(t.Context(), []detector.Evidence{{Observer: "n1", Subject: "n1", Seq: 1 << 61, Condition: detector.Leaving}}); err != nil {
			t.Error(err)
		}
		for range 300 {
			time.Sleep(10 * time.Millisecond)
			if !together(a, b, c)() {
				t.Fatal("the first is missed after the end of the second")
			}
		}
	})
}

// Two agents of one name on the two sides of a partition: when it heals, the
// older stays, on both sides.
func TestTwoOfOneNameMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := sim.NewNetwork(1, 0)
		for _, left := range []string{"10.0.0.1:7946", "10.0.0.2:7946"} {
			for _, right := range []string{"10.0.0.3:7946", "10.0.0.9:7946"} {
				net.Sever(left, right, true)
			}
		}
		a := join(t, net, "n1", "10.0.0.1:7946", "c", "", "n2=10.0.0.2:7946", "n3=10.0.0.3:7946")
		b := join(t, net, "n2", "10.0.0.2:7946", "c", "", "n1=10.0.0.1:7946", "n3=10.0.0.3:7946")
		time.Sleep(20 * time.Second)
		c := join(t, net, "n3", "10.0.0.3:7946", "c", "", "n1=10.0.0.9:7946", "n2=10.0.0.2:7946")
		younger := join(t, net, "n1", "10.0.0.9:7946", "c", "", "n2=10.0.0.2:7946", "n3=10.0.0.3:7946")
		eventually(t, "each side is whole", 10*time.Second, func() bool { return together(a, b)() && together(c, younger)() })
		time.Sleep(20 * time.Second)
		for _, left := range []string{"10.0.0.1:7946", "10.0.0.2:7946"} {
			for _, right := range []string{"10.0.0.3:7946", "10.0.0.9:7946"} {
				net.Sever(left, right, false)
			}
		}
		eventually(t, "the younger gives way", 5*time.Second, func() bool { return younger.Status().Refused })
		if err := younger.Stop(t.Context(), nil); err != nil {
			t.Error(err)
		}
		eventually(t, "the older is known everywhere", 15*time.Second, together(a, b, c))
		if a.Status().Refused {
			t.Error("the older gave way")
		}
	})
}

// An agent that is started again at its own address is itself, and no conflict.
func TestRestartIsNoConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := sim.NewNetwork(1, 0)
		a := join(t, net, "n1", "10.0.0.1:7946", "c", "", "n2=10.0.0.2:7946")
		b := join(t, net, "n2", "10.0.0.2:7946", "c", "", "n1=10.0.0.1:7946")
		eventually(t, "both are members", 5*time.Second, together(a, b))
		net.Vanish("10.0.0.1:7946") // killed, and back before anybody notices
		again := join(t, net, "n1", "10.0.0.1:7946", "c", "", "n2=10.0.0.2:7946")
		before := b.in.count()
		eventually(t, "the new life is heard", time.Second, func() bool { return together(again, b)() && b.in.count() > before+1 })
		time.Sleep(5 * time.Second)
		if len(again.told())+len(b.told()) != 0 || b.Refused() != 0 {
			t.Errorf("told %v %v, refused %d", again.told(), b.told(), b.Refused())
		}
	})
}

// tap listens to everything that is sent.
type tap struct {
	mu   sync.Mutex
	seen bytes.Buffer
}

func (t *tap) take(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen.Write(b)
}

func (t *tap) saw(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Contains(t.seen.Bytes(), []byte(text))
}
