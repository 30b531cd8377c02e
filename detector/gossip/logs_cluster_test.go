package gossip_test

import (
	"maps"
	"sync"
	"testing"
	"time"

	"healer/detector"
	"healer/detector/gossip"
	"healer/topology"
)

// knownLogs are the ends of logs as an agent knows them.
type knownLogs struct {
	self  string
	mu    sync.Mutex
	ends  map[string]topology.LogEnd
	heard chan string
}

func (l *knownLogs) Own() (topology.LogEnd, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end, ok := l.ends[l.self]
	return end, ok
}

func (l *knownLogs) All() map[string]topology.LogEnd {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.ends)
}

func (l *knownLogs) Hear(member string, end topology.LogEnd) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[member] = end
	select {
	case l.heard <- member:
	default:
	}
}

func (l *knownLogs) await(t *testing.T, node string, flushed topology.LSN) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for l.All()[node].Flushed != flushed {
		select {
		case <-l.heard:
		case <-limit:
			t.Fatalf("%s has not heard of the log of %s: %+v", l.self, node, l.All())
		}
	}
}

// How far a node has written its log goes along with its agent's evidence; whoever
// comes when that agent is gone learns it from those who heard it.
func TestEndOfALogOutlivesItsAgent(t *testing.T) {
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	members := []gossip.Member{{Name: "n1", Addr: addrs[0]}, {Name: "n2", Addr: addrs[1]}, {Name: "n3", Addr: addrs[2]}}
	start := func(name string) (*gossip.Gossip, *knownLogs) {
		logs := &knownLogs{self: name, ends: map[string]topology.LogEnd{}, heard: make(chan string, 1)}
		g, err := gossip.New(gossip.Config{Self: name, Cluster: "test", Members: members, Logs: logs, Log: discard()})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Start(t.Context(), &recorder{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Stop(t.Context(), nil) })
		return g, logs
	}
	_, l2 := start("n2")
	g1, l1 := start("n1")
	l1.mu.Lock()
	l1.ends["n1"] = topology.LogEnd{Identity: topology.Identity{SystemID: 7}, Flushed: 0x100, At: time.Now()}
	l1.mu.Unlock()
	g1.Send([]detector.Evidence{{Observer: "n1", Subject: "n1", Seq: 1, Kind: detector.Refuting, Condition: detector.Answered}}, false)
	l2.await(t, "n1", 0x100)
	if err := g1.Stop(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, l3 := start("n3")
	l3.await(t, "n1", 0x100)
}
