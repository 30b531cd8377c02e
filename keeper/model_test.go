package keeper

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"healer/topology"
)

// record is a transaction in the log of S: its own position there, and the
// origin LSN it carries.
type record struct {
	at     topology.LSN
	origin string
	lsn    topology.LSN
}

// peerNode is a peer of S: a target of recovery slots and an origin itself.
type peerNode struct {
	name string
	// commits are its own transactions' LSNs.
	commits []topology.LSN
	// applied and flushed count, for each origin, how many of that origin's
	// transactions it has; flushed <= applied.
	applied, flushed map[string]int
	gaps             []string
	reachable        bool
	// view is the last that S read of it.
	view PeerView
}

// mesh is the model: the keeping node S, its log, its slots, and its peers.
type mesh struct {
	peers []*peerNode
	cut   map[[2]string]bool

	log      []record
	end      topology.LSN
	flushed  topology.LSN
	applied  map[string]int
	memory   map[string]topology.LSN
	behind   []late
	identity topology.Identity

	kept, seeds map[string]topology.LSN
	history     *History
}

// late is progress that has not reached memory yet although its commit record
// is in the log; sampled says that a sample has been taken since.
type late struct {
	origin  string
	lsn     topology.LSN
	sampled bool
}

func newMesh(names []string) *mesh {
	m := &mesh{
		cut: map[[2]string]bool{}, end: 100, flushed: 100, applied: map[string]int{},
		memory: map[string]topology.LSN{}, identity: topology.Identity{SystemID: 1, Timeline: 1, StartedAt: 1},
		kept: map[string]topology.LSN{}, seeds: map[string]topology.LSN{}, history: NewHistory(6),
	}
	for _, n := range names {
		m.peers = append(m.peers, &peerNode{
			name: n, applied: map[string]int{}, flushed: map[string]int{}, reachable: true,
			view: PeerView{Name: n, Problem: "not read yet"},
		})
		m.memory[n] = 0
	}
	return m
}

func (m *mesh) write(origin string, lsn topology.LSN) {
	m.end += 10
	m.log = append(m.log, record{m.end, origin, lsn})
}

// apply lets S apply the next transaction of p; the progress reaches memory at
// once or a little later.
func (m *mesh) apply(p *peerNode, lag bool) bool {
	next := m.applied[p.name]
	if next >= len(p.commits) || m.cut[[2]string{p.name, "S"}] || m.isBehind(p.name) {
		return false
	}
	m.applied[p.name]++
	m.write(p.name, p.commits[next])
	if lag {
		m.behind = append(m.behind, late{origin: p.name, lsn: p.commits[next]})
	} else {
		m.memory[p.name] = p.commits[next]
	}
	return true
}

func (m *mesh) isBehind(origin string) bool {
	return slices.ContainsFunc(m.behind, func(l late) bool { return l.origin == origin })
}

// sample reads S as Store.Sample does. Whatever was in the log at the sample
// before has reached memory by now.
func (m *mesh) sample() {
	var still []late
	for _, l := range m.behind {
		if l.sampled {
			m.memory[l.origin] = l.lsn
		} else {
			still = append(still, late{l.origin, l.lsn, true})
		}
	}
	m.behind = still
	m.history.Observe(Sample{Identity: m.identity, Flushed: m.flushed, Progress: maps.Clone(m.memory)})
}

// crash loses what S had not flushed; its progress starts from the log.
func (m *mesh) crash() {
	m.log = slices.DeleteFunc(m.log, func(r record) bool { return r.at > m.flushed })
	m.end, m.behind = m.flushed, nil
	for _, p := range m.peers {
		m.applied[p.name], m.memory[p.name] = 0, 0
	}
	for _, r := range m.log {
		if r.origin != "" {
			m.applied[r.origin]++
			m.memory[r.origin] = r.lsn
		}
	}
	m.identity.StartedAt++
}

func (m *mesh) read(t *peerNode) {
	v := PeerView{Name: t.name, Reachable: t.reachable, Gaps: slices.Clone(t.gaps), Progress: map[string]topology.LSN{}}
	for _, f := range m.peers {
		if f == t {
			continue
		}
		v.Progress[f.name] = 0
		if n := t.flushed[f.name]; n > 0 {
			v.Progress[f.name] = f.commits[n-1]
		}
	}
	t.view = v
}

func (m *mesh) slots() []topology.Slot {
	var out []topology.Slot
	for to, at := range m.kept {
		out = append(out, topology.Slot{Name: "kept_" + to, Kind: topology.SlotRecovery, To: to, Confirmed: at})
	}
	for to, at := range m.seeds {
		out = append(out, topology.Slot{Name: "seed_" + to, Kind: topology.SlotSeed, To: to, Confirmed: at})
	}
	return out
}

func (m *mesh) decide(t *peerNode) Action { return Decide(m.history, t.view, m.slots()) }

// carryOut does what was decided, which may have been long ago.
func (m *mesh) carryOut(a Action, interrupted bool) {
	switch a.Kind {
	case Create:
		if _, ok := m.seeds[a.Peer]; !ok {
			m.seeds[a.Peer] = m.flushed
		}
	case Promote:
		seed, ok := m.seeds[a.Peer]
		if _, has := m.kept[a.Peer]; ok && !has {
			m.kept[a.Peer] = seed
		}
		if !interrupted {
			delete(m.seeds, a.Peer)
		}
	case Advance:
		m.kept[a.Peer] = max(m.kept[a.Peer], a.To)
	}
}

// check is the invariant of Decide, read from the model itself.
func (m *mesh) check(t *rapid.T) {
	for _, p := range m.peers {
		pos, ok := m.kept[p.name]
		if !ok {
			continue
		}
		for _, r := range m.log {
			if r.at > pos || r.origin == "" || r.origin == p.name {
				continue
			}
			f := m.peer(r.origin)
			if n := p.flushed[f.name]; n == 0 || f.commits[n-1] < r.lsn {
				t.Fatalf("the slot for %s is at %s, behind transaction %s of %s, of which it has %d of %d",
					p.name, pos, r.lsn, r.origin, n, len(f.commits))
			}
		}
	}
}

func (m *mesh) peer(name string) *peerNode {
	return m.peers[slices.IndexFunc(m.peers, func(p *peerNode) bool { return p.name == name })]
}

func (p *peerNode) apply(m *mesh, f *peerNode) bool {
	if f == p || m.cut[[2]string{f.name, p.name}] || p.applied[f.name] >= len(f.commits) {
		return false
	}
	p.applied[f.name]++
	return true
}

// TestModel drives a mesh at random: transactions arrive at S and at the peers
// in any order, links are cut, peers and S crash, views are old, decisions are
// carried out late or half. The slots must never pass a gap, and when all is
// well again they must come up to the log.
func TestModel(t *testing.T) {
	// The rarest violation that a wrong rule makes shows about once in 200 runs.
	for range 20 {
		rapid.Check(t, model)
	}
}

func model(t *rapid.T) {
	names := []string{"a", "b", "c"}[:rapid.IntRange(2, 3).Draw(t, "peers")]
	m := newMesh(names)
	pick := func() *peerNode { return rapid.SampledFrom(m.peers).Draw(t, "node") }
	var decided []Action
	t.Repeat(map[string]func(*rapid.T){
		"":       m.check,
		"commit": func(t *rapid.T) { commit(t, pick()) },
		"applyHere": func(t *rapid.T) {
			p := pick()
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				m.apply(p, rapid.Bool().Draw(t, "late"))
			}
		},
		"applyThere": func(t *rapid.T) {
			p, f := pick(), pick()
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				p.apply(m, f)
			}
		},
		"writeHere":  func(*rapid.T) { m.write("", 0) },
		"flushHere":  func(*rapid.T) { m.flushed = m.end },
		"flushThere": func(*rapid.T) { p := pick(); p.flushed = maps.Clone(p.applied) },
		"crashHere":  func(*rapid.T) { m.crash() },
		"crashThere": func(*rapid.T) { p := pick(); p.applied = maps.Clone(p.flushed) },
		"link": func(t *rapid.T) {
			to := rapid.SampledFrom(append([]string{"S"}, names...)).Draw(t, "to")
			m.cut[[2]string{pick().name, to}] = rapid.Bool().Draw(t, "cut")
		},
		"reach": func(t *rapid.T) { pick().reachable = rapid.Bool().Draw(t, "reachable") },
		"gap": func(t *rapid.T) {
			pick().gaps = rapid.SampledFrom([][]string{nil, {"a"}}).Draw(t, "gaps")
		},
		"interrupt": func(*rapid.T) { m.history.Interrupt() },
		"sample":    func(*rapid.T) { m.sample() },
		"read":      func(*rapid.T) { m.read(pick()) },
		"decide":    func(*rapid.T) { decided = append(decided, m.decide(pick())) },
		"act": func(t *rapid.T) {
			if len(decided) == 0 {
				t.Skip("nothing decided")
			}
			i := rapid.IntRange(0, len(decided)-1).Draw(t, "which")
			m.carryOut(decided[i], rapid.Bool().Draw(t, "interrupted"))
			decided = slices.Delete(decided, i, i+1)
		},
		"tick": func(*rapid.T) {
			m.sample()
			for _, p := range m.peers {
				m.read(p)
				m.carryOut(m.decide(p), false)
			}
		},
	})
	m.heal()
	m.check(t)
	for _, p := range m.peers {
		if m.kept[p.name] != m.flushed {
			t.Fatalf("all is well, but the slot for %s is at %s of %s: %+v", p.name, m.kept[p.name], m.flushed, m.decide(p))
		}
		if _, left := m.seeds[p.name]; left {
			t.Fatalf("the seed for %s was left behind", p.name)
		}
	}
}

func commit(t *rapid.T, p *peerNode) {
	last := topology.LSN(50)
	if n := len(p.commits); n > 0 {
		last = p.commits[n-1]
	}
	p.commits = append(p.commits, last+topology.LSN(rapid.IntRange(1, 500).Draw(t, "size"))) //nolint:gosec // small
}

// heal mends every link, lets everything arrive, and ticks a few times.
func (m *mesh) heal() {
	clear(m.cut)
	m.sample()
	m.sample()
	for _, f := range m.peers {
		for m.apply(f, false) {
		}
		for _, p := range m.peers {
			for p.apply(m, f) {
			}
			p.flushed = maps.Clone(p.applied)
			p.reachable, p.gaps = true, nil
		}
	}
	m.flushed = m.end
	for range 6 {
		m.sample()
		for _, p := range m.peers {
			m.read(p)
			m.carryOut(m.decide(p), false)
		}
	}
}

// TestUnderLoad shows that slots move while the peer is never quite level: it
// trails S by a tick, always.
func TestUnderLoad(t *testing.T) {
	m := newMesh([]string{"a", "b"})
	a, b := m.peer("a"), m.peer("b")
	for i := range 50 {
		a.commits = append(a.commits, topology.LSN(100+i*10)) //nolint:gosec // small
		m.apply(a, false)
		m.flushed = m.end
		m.sample()
		m.read(b)
		m.carryOut(m.decide(b), false)
		b.apply(m, a)
		b.flushed = maps.Clone(b.applied)
	}
	if lag := m.end - m.kept["b"]; lag > 50 {
		t.Fatalf("the slot for b is %d behind the log: it starves under load", lag)
	}
}

func ExampleDecide() {
	h := NewHistory(8)
	h.Observe(Sample{Flushed: 0x100, Progress: map[string]topology.LSN{"n1": 0x50}})
	h.Observe(Sample{Flushed: 0x200, Progress: map[string]topology.LSN{"n1": 0x90}})
	slots := []topology.Slot{{Name: "r", Kind: topology.SlotRecovery, To: "n3", Confirmed: 0x80}}
	for _, has := range []topology.LSN{0x40, 0x90} {
		a := Decide(h, PeerView{Name: "n3", Reachable: true, Progress: map[string]topology.LSN{"n1": has}}, slots)
		fmt.Println(a.Kind, a.To, a.Why)
	}
	// Output:
	// hold 0/0 n3 has n1 only up to 0/40 of 0/90
	// advance 0/100
}
