package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"healer/internal/localnet"
)

// seat is one plain member of one group, as a child process is told.
type seat struct {
	Group string            `json:"group"`
	Name  string            `json:"name"`
	Addr  string            `json:"addr"`
	Port  int               `json:"port"`
	Peers map[string]string `json:"peers"` // by name, name/host:port
	// Tuned takes the agents' own intervals in place of memberlist's for a LAN.
	Tuned bool `json:"tuned"`
}

// sit runs plain members until ctx ends. Each writes what it comes to hold of the
// others: the lines that an agent would write, with its group.
func sit(ctx context.Context, seats []seat, out io.Writer) error {
	var mu sync.Mutex
	for _, s := range seats {
		conf := memberlist.DefaultLANConfig()
		if s.Tuned {
			conf.ProbeInterval, conf.ProbeTimeout = 200*time.Millisecond, 100*time.Millisecond
			conf.GossipInterval = 50 * time.Millisecond
		}
		conf.Name, conf.Label = s.Name, s.Group
		conf.BindAddr, conf.BindPort, conf.AdvertisePort = s.Addr, s.Port, s.Port
		conf.AdvertiseAddr = s.Addr
		conf.DeadNodeReclaimTime = time.Second
		conf.LogOutput = io.Discard
		conf.Events = told(func(node, life string) {
			mu.Lock()
			defer mu.Unlock()
			b, err := json.Marshal(memberNews{s.Group, news{Time: time.Now(), Msg: "verdict", Node: node, Life: life}})
			if err == nil {
				_, _ = out.Write(append(b, '\n'))
			}
		})
		list, err := memberlist.Create(conf)
		if err != nil {
			return fmt.Errorf("member %s of %s: %w", s.Name, s.Group, err)
		}
		go rejoin(ctx, list, s)
	}
	<-ctx.Done()
	return nil
}

// memberNews is a line of a plain member.
type memberNews struct {
	Group string `json:"group"`
	news
}

// rejoin asks missing members to join for ever: memberlist itself gives up on them.
func rejoin(ctx context.Context, list *memberlist.Memberlist, s seat) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var there []string
		for _, m := range list.Members() {
			there = append(there, m.Name)
		}
		for name, addr := range s.Peers {
			if !slices.Contains(there, name) {
				_, _ = list.Join([]string{addr})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// told hears what a memberlist concludes.
type told func(node, life string)

// NotifyJoin implements memberlist.EventDelegate.
func (t told) NotifyJoin(n *memberlist.Node) { t(n.Name, up) }

// NotifyLeave implements memberlist.EventDelegate.
func (t told) NotifyLeave(n *memberlist.Node) { t(n.Name, failed) }

// NotifyUpdate implements memberlist.EventDelegate.
func (t told) NotifyUpdate(*memberlist.Node) {}

// members are groups of plain members, half of them with memberlist's defaults and
// half tuned. One process for each node holds its member of every group, so that
// one death is many trials.
type members struct {
	nodes   []string
	procs   map[string]*process
	watches map[bool][]*watch // by tuned
}

func newMembers(ctx context.Context, o options, dir string, nodes []string, hosts map[string]*localnet.Host, groups int) (*members, error) {
	m := &members{nodes: nodes, procs: map[string]*process{}, watches: map[bool][]*watch{}}
	byName := map[string]*watch{}
	seats := map[string][]seat{}
	places, err := memberPlaces(ctx, nodes, hosts, groups)
	if err != nil {
		return nil, err
	}
	for i, addrs := range places {
		tuned := i%2 == 1
		w := newWatch(fmt.Sprintf("memberlist-%d", i), nodes)
		byName[w.name] = w
		m.watches[tuned] = append(m.watches[tuned], w)
		for _, n := range nodes {
			s := seat{Group: w.name, Name: n, Addr: addrs[n].host, Port: addrs[n].port, Tuned: tuned, Peers: map[string]string{}}
			for _, p := range others(nodes, n) {
				s.Peers[p] = fmt.Sprintf("%s/%s:%d", p, addrs[p].host, addrs[p].port)
			}
			seats[n] = append(seats[n], s)
		}
	}
	for _, n := range nodes {
		b, err := json.Marshal(seats[n])
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "seats-"+n+".json")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return nil, err
		}
		m.procs[n] = &process{program: o.self, args: []string{"-member", file}, host: hosts[n], lines: func(line []byte) {
			var of memberNews
			if json.Unmarshal(line, &of) == nil && byName[of.Group] != nil {
				byName[of.Group].line(n, line)
			}
		}}
		if err := m.start(n); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *members) start(node string) error {
	for _, ws := range m.watches {
		for _, w := range ws {
			w.forget(node)
		}
	}
	return m.procs[node].start()
}

func (m *members) killAll() {
	for _, p := range m.procs {
		p.kill()
	}
}

// settled waits until every member holds every other for up.
func (m *members) settled(ctx context.Context) error {
	for _, ws := range m.watches {
		for _, w := range ws {
			for _, n := range m.nodes {
				if _, err := w.all(ctx, []string{n}, others(m.nodes, n), up); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (m *members) reset() {
	for _, ws := range m.watches {
		for _, w := range ws {
			w.reset()
		}
	}
}

// tally adds a trial of every group: whether it took a living member for dead.
func (m *members) tally(r *result, victim string, since time.Time) {
	for tuned, ws := range m.watches {
		p := r.plain(tuned)
		for _, w := range ws {
			p.Trials++
			if w.wrong(victim, since) > 0 {
				p.Wrong++
			}
		}
	}
}

// await waits for every group's survivors to hold the victim for dead.
func (m *members) await(ctx context.Context, r *result, victim string, since time.Time) error {
	for tuned, ws := range m.watches {
		for _, w := range ws {
			at, err := w.all(ctx, others(m.nodes, victim), []string{victim}, failed)
			if err != nil {
				return err
			}
			p := r.plain(tuned)
			p.Samples = append(p.Samples, ms(at.Sub(since)))
		}
	}
	return nil
}
