package probe_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"healer/detector"
	"healer/detector/gossip"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/postgres/probe"
)

// site is three detectors over real sockets, watching three real servers.
type site struct {
	t       *testing.T
	names   []string
	servers map[string]*localpg.Server
	agents  map[string]*detector.Detector
	news    chan struct{}
}

func newSite(t *testing.T) *site {
	s := &site{
		t: t, names: []string{"n1", "n2", "n3"},
		servers: map[string]*localpg.Server{}, agents: map[string]*detector.Detector{},
		news: make(chan struct{}, 1),
	}
	var members []gossip.Member
	for _, n := range s.names {
		s.servers[n] = pgtest.Server(t, localpg.ServerOptions{Name: n})
		members = append(members, gossip.Member{Name: n, Addr: freeAddr(t)})
	}
	for _, n := range s.names {
		s.agents[n] = s.agent(n, members)
	}
	return s
}

func (s *site) agent(name string, members []gossip.Member) *detector.Detector {
	s.t.Helper()
	probers := map[string]detector.Prober{}
	for _, n := range s.names {
		p, err := probe.New(s.servers[n].DSN())
		if err != nil {
			s.t.Fatal(err)
		}
		probers[n] = p
	}
	log := slog.New(slog.DiscardHandler)
	g, err := gossip.New(gossip.Config{Self: name, Cluster: "site", Members: members, Log: log})
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := detector.New(detector.Options{Self: name, Members: s.names, Probers: probers, Gossip: g, Log: log, Rules: detector.Rules{FlapAfter: 1000}})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := d.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := d.Stop(ctx); err != nil {
			s.t.Error(err)
		}
	})
	changes := d.Watch(s.t.Context())
	go func() {
		for range changes {
			select {
			case s.news <- struct{}{}:
			default:
			}
		}
	}()
	return d
}

// freeAddr is an address that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // as above
	return l.Addr().String()
}

// await waits until all agents hold that node is in that life, and returns when
// the last of them came to hold it.
func (s *site) await(node string, life detector.Life) time.Time {
	s.t.Helper()
	over := time.After(limit)
	for {
		var last time.Time
		agree := true
		for _, a := range s.agents {
			v := s.verdict(a, node)
			agree = agree && v.Life == life
			if v.At.After(last) {
				last = v.At
			}
		}
		if agree {
			return last
		}
		select {
		case <-s.news:
		case <-over:
			for n, a := range s.agents {
				v := s.verdict(a, node)
				s.t.Logf("%s says of %s: %s (%s)", n, node, v.Life, v.Reason)
			}
			s.t.Fatalf("%s is not %s everywhere", node, life)
		}
	}
}

// settled waits until every agent has heard from every other that node answers.
func (s *site) settled(node string) {
	s.t.Helper()
	over := time.After(limit)
	for _, a := range s.agents {
		for {
			v := s.verdict(a, node)
			if v.Life == detector.LifeUp && len(v.Evidence) == len(s.names) && !slices.ContainsFunc(v.Evidence,
				func(e detector.Evidence) bool { return e.Condition != detector.Answered || e.Identity != v.Identity }) {
				break
			}
			// Evidence that changes no verdict is not announced: look again.
			select {
			case <-over:
				s.t.Fatalf("%s is not settled: %+v", node, v)
			case <-time.After(time.Millisecond):
			}
		}
	}
}

func (s *site) verdict(a *detector.Detector, node string) detector.Verdict {
	vs := a.Verdicts()
	return vs[slices.IndexFunc(vs, func(v detector.Verdict) bool { return v.Node == node })]
}

func (s *site) incarnation(node string) string {
	s.t.Helper()
	var all []string
	for _, a := range s.agents {
		all = append(all, s.verdict(a, node).Incarnation)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) != 1 {
		s.t.Fatalf("the agents name different incarnations of %s: %v", node, all)
	}
	return all[0]
}

// A real death, hang and return, seen by three agents alike. How long each took
// is logged, not judged.
func TestThreeAgentsAgreeOnRealServers(t *testing.T) {
	s := newSite(t)
	for _, n := range s.names {
		s.settled(n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*limit)
	defer cancel()
	for _, kill := range []struct {
		name string
		kill func(*localpg.Server, context.Context) error
	}{
		{"postmaster killed", (*localpg.Server).KillPostmaster},
		{"all processes killed", (*localpg.Server).Kill},
		{"immediate shutdown", func(srv *localpg.Server, ctx context.Context) error { return srv.Stop(ctx, localpg.Immediate) }},
	} {
		up := s.incarnation("n3")
		at := time.Now()
		if err := kill.kill(s.servers["n3"], ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: failed on all agents after %s", kill.name, s.await("n3", detector.LifeFailed).Sub(at))
		if inc := s.incarnation("n3"); inc != up {
			t.Errorf("%s: failed as %s, was up as %s", kill.name, inc, up)
		}
		// What is left of a killed postmaster must be gone before a new one.
		if err := s.servers["n3"].Kill(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.servers["n3"].Start(ctx); err != nil {
			t.Fatal(err)
		}
		s.await("n3", detector.LifeReturning)
		for _, a := range s.agents {
			if a.Admit("n3") {
				break
			}
		}
		s.settled("n3")
		if inc := s.incarnation("n3"); inc == up {
			t.Errorf("%s: up again in the same incarnation %s", kill.name, inc)
		}
	}

	at := time.Now()
	if err := s.servers["n3"].Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("frozen: failed on all agents after %s", s.await("n3", detector.LifeFailed).Sub(at))
	at = time.Now()
	s.servers["n3"].Thaw()
	t.Logf("thawed: returning on all agents after %s", s.await("n3", detector.LifeReturning).Sub(at))
}
