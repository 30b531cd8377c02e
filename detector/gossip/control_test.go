package gossip_test

import (
	"testing"
	"time"

	"healer/control"
	"healer/detector/gossip"
)

// What an operator tells one agent reaches the others: at once those that are
// there, and with the exchange of states one that joins later.
func TestControlReachesEveryAgent(t *testing.T) {
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	members := []gossip.Member{{Name: "n1", Addr: addrs[0]}, {Name: "n2", Addr: addrs[1]}, {Name: "n3", Addr: addrs[2]}}
	stores := map[string]*control.Store{}
	start := func(name string) *gossip.Gossip {
		stores[name] = control.NewStore(nil, func([]control.Entry) error { return nil })
		g, err := gossip.New(gossip.Config{Self: name, Cluster: "test", Members: members, Control: stores[name], Log: discard()})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Start(t.Context(), &recorder{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Stop(t.Context(), nil) })
		return g
	}
	g1 := start("n1")
	start("n2")
	e, err := stores["n1"].Set(control.Entry{Kind: control.Maintenance, Subject: "n2"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	g1.SendControl([]control.Entry{e})
	awaitEntry(t, stores["n2"])
	start("n3")
	awaitEntry(t, stores["n3"])
}

func awaitEntry(t *testing.T, s *control.Store) {
	t.Helper()
	select {
	case <-s.Wake():
	case <-time.After(20 * time.Second):
		t.Fatal("the entry did not arrive")
	}
	if got := s.Changes(); len(got) != 1 || got[0].Subject != "n2" {
		t.Errorf("arrived: %+v", got)
	}
}
