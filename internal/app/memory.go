package app

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"sync"

	"healer/detector"
	"healer/planner"
	"healer/topology"
)

// memory keeps what can no longer be read of a node once it is lost, across
// restarts of the agent. It is an aid: whatever it does not know, the planner
// treats as unknown and refuses.
type memory struct {
	path string
	log  *slog.Logger
	// ends are the ends of the nodes' logs, which others tell at any time.
	ends *logEnds

	mu    sync.Mutex
	state remembered
	dirty bool
}

// remembered is the content of memory.json.
type remembered struct {
	Nodes map[string]topology.Memory `json:"nodes"`
	// Providers has, for each subscription that was resolved, the node it
	// reads from. The keys are the engine's.
	Providers map[string]string `json:"providers"`
	// Feeds has, by provider and slot, the node that the slot feeds.
	Feeds map[string]map[string]string `json:"feeds,omitempty"`
	// Lives are the detector's: who each node was and in which episode.
	Lives map[string]detector.Prior `json:"lives"`
	// Sightings has, for each node that came back and each survivor that was
	// fenced off from it then, the end of its log as it was first read.
	Sightings map[string]map[string]planner.Sighting `json:"sightings,omitempty"`
	// Ends has how far each node is known to have written its log.
	Ends map[string]topology.LogEnd `json:"ends,omitempty"`
}

func openMemory(path string, log *slog.Logger) (*memory, error) {
	m := &memory{path: path, log: log}
	err := readJSON(path, &m.state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, dirFault("memory", "remove the file: it is learned again while the nodes live", err)
	}
	if m.state.Nodes == nil {
		m.state.Nodes = map[string]topology.Memory{}
	}
	if m.state.Sightings == nil {
		m.state.Sightings = map[string]map[string]planner.Sighting{}
	}
	if m.state.Providers == nil {
		m.state.Providers = map[string]string{}
	}
	m.ends = newLogEnds(m.state.Ends)
	return m, nil
}

// node returns what is remembered of a node; the zero Memory when nothing is.
func (m *memory) node(name string) topology.Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	mem := m.state.Nodes[name]
	mem.Confirmed = maps.Clone(mem.Confirmed)
	mem.End = m.ends.of(name)
	return mem
}

// learn replaces what is remembered of a node. Positions only grow within one
// identity: a reading that arrives late must not take back a later one.
func (m *memory) learn(name string, now topology.Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.state.Nodes[name]
	if old.Identity.SystemID == now.Identity.SystemID {
		now.Flushed = max(now.Flushed, old.Flushed)
		merged := maps.Clone(old.Confirmed)
		if merged == nil {
			merged = map[string]topology.LSN{}
		}
		for peer, lsn := range now.Confirmed {
			merged[peer] = max(merged[peer], lsn)
		}
		now.Confirmed = merged
		now.Applied = planner.MergeApplied(old.Applied, now.Applied)
	}
	now.Rewound = old.Rewound
	if old.Identity == now.Identity && old.Flushed == now.Flushed && maps.Equal(old.Confirmed, now.Confirmed) && maps.Equal(old.Applied, now.Applied) {
		return
	}
	m.state.Nodes[name] = now
	m.dirty = true
}

// suspect remembers of each node that was read what shows that it goes on from an older
// state: its log is about to grow over that. It is forgotten when the node is another one,
// or nobody reads from it any more as before.
func (m *memory) suspect(s situation) {
	for _, n := range s.obs.Nodes {
		was := m.node(n.Name)
		now := planner.Rewound(n.Name, s.obs, was)
		if now == was.Rewound || (now == nil && (!n.Reachable || !s.readable())) {
			continue
		}
		if now != nil {
			m.log.Error("node goes on from an older state", "node", n.Name, "why", now.Why)
		}
		m.mu.Lock()
		known := m.state.Nodes[n.Name]
		known.Rewound = now
		m.state.Nodes[n.Name], m.dirty = known, true
		m.mu.Unlock()
	}
}

// providers returns a copy of the resolved subscriptions.
func (m *memory) providers() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.state.Providers)
}

func (m *memory) learnProviders(now map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if maps.Equal(m.state.Providers, now) {
		return
	}
	m.state.Providers = maps.Clone(now)
	m.dirty = true
}

// feeds returns a copy of which slot feeds whom.
func (m *memory) feeds() map[string]map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.state.Feeds)
}

func (m *memory) learnFeeds(now map[string]map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if maps.EqualFunc(m.state.Feeds, now, maps.Equal[map[string]string, map[string]string]) {
		return
	}
	m.state.Feeds = now
	m.dirty = true
}

// lives returns a copy of what the detector knew.
func (m *memory) lives() map[string]detector.Prior {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.state.Lives)
}

func (m *memory) learnLives(now map[string]detector.Prior) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if maps.EqualFunc(m.state.Lives, now, detector.Prior.Equal) {
		return
	}
	m.state.Lives = now
	m.dirty = true
}

// sight keeps the end of a returned node's log as it was read behind a survivor's
// fence: the lowest, and nothing that was read behind an earlier fence.
func (m *memory) sight(node, survivor string, now planner.Sighting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.state.Sightings[node][survivor]
	if ok && old.Mark == now.Mark && old.Made == now.Made && old.End <= now.End {
		return
	}
	if m.state.Sightings[node] == nil {
		m.state.Sightings[node] = map[string]planner.Sighting{}
	}
	m.state.Sightings[node][survivor] = now
	m.dirty = true
}

// sighted returns a copy of what was seen of a node, by survivor.
func (m *memory) sighted(node string) map[string]planner.Sighting {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.state.Sightings[node])
}

// save writes what was learned since the last save. A failure is logged and
// tried again at the next: the agent works on without it.
func (m *memory) save() {
	m.mu.Lock()
	defer m.mu.Unlock()
	// That an end was heard of once more is nothing to be written for.
	if ends := m.ends.All(); !maps.EqualFunc(m.state.Ends, ends, func(x, y topology.LogEnd) bool {
		return x.Identity == y.Identity && x.Flushed == y.Flushed
	}) {
		m.state.Ends, m.dirty = ends, true
	}
	if !m.dirty {
		return
	}
	if err := writeJSON(m.path, m.state); err != nil {
		m.log.Warn("memory is not saved", "error", err)
		return
	}
	m.dirty = false
}
