package app

import (
	"slices"
	"time"

	"healer/detector"
	"healer/planner"
	"healer/topology"
)

// silentAfter is how long a node that nobody judges lost may fail to answer
// before the others are healed without it.
const silentAfter = 10 * time.Second

// presence is what the loop notes of the nodes from pass to pass, of when they
// were there and when they were not. It belongs to the reconcile loop.
type presence struct {
	// silent is since when each node that is not lost has not answered.
	silent map[string]time.Time
	// shut are, by node, the survivors that the pass before found fenced off from
	// it, and their fences.
	shut map[string]map[string]topology.Fence
	// lives and back are each node's life in the pass before, and when it was
	// last taken back.
	lives map[string]detector.Life
	back  map[string]time.Time
}

func newPresence() *presence {
	return &presence{
		silent: map[string]time.Time{}, shut: map[string]map[string]topology.Fence{},
		lives: map[string]detector.Life{}, back: map[string]time.Time{},
	}
}

// note takes in what a pass has found.
func (p *presence) note(s situation, m *memory, now time.Time) {
	lost := s.lost()
	for _, n := range s.obs.Nodes {
		if n.Reachable || slices.Contains(lost, n.Name) {
			delete(p.silent, n.Name)
		} else if _, since := p.silent[n.Name]; !since {
			p.silent[n.Name] = now
		}
		life := s.life(n.Name)
		if p.lives[n.Name] == detector.LifeReturning && life == detector.LifeUp {
			p.back[n.Name] = now
		}
		p.lives[n.Name] = life
		p.sight(s, n, m)
	}
}

// sight remembers the end of a returned node's log as it was first read while a
// survivor could confirm nothing to it any more: what the survivor's slot says later
// must not be beyond that. That it was shut off is known from the pass before: the
// nodes of one observation are read side by side. Of a server that is another, or in an
// older state, nothing is remembered. What is remembered belongs to the fence that
// stood, because whoever reads from the node moves its slot, and may be fenced off once
// more before this agent looks again.
func (p *presence) sight(s situation, n topology.NodeState, m *memory) {
	before := p.shut[n.Name]
	p.shut[n.Name] = s.shut(n.Name)
	back := s.life(n.Name) == detector.LifeReturning || s.life(n.Name) == detector.LifeUp
	was := m.node(n.Name)
	same := n.Reachable && !n.InRecovery && n.Identity.SystemID == was.Identity.SystemID && n.Flushed >= was.Flushed
	if !back || !same {
		return
	}
	for survivor, fence := range p.shut[n.Name] {
		if before[survivor] == fence {
			m.sight(n.Name, survivor, planner.Sighting{Mark: fence.Mark, Made: fence.Made, End: n.Flushed})
		}
	}
}

// shut are the survivors that could be read and are fenced off from the node, with no
// worker left, and their fences.
func (s situation) shut(node string) map[string]topology.Fence {
	out := map[string]topology.Fence{}
	for _, n := range s.obs.Nodes {
		sub, reads := n.From(node)
		fence, fenced := n.FenceOf(node)
		if n.Name != node && reads && fenced && !sub.Enabled && sub.Worker == topology.WorkerNone {
			out[n.Name] = fence
		}
	}
	return out
}

// complete adds to a trigger what only passes tell. A node that is lost again
// within hold of its return has to wait.
func (p *presence) complete(t planner.Trigger, m *memory, hold time.Duration, now time.Time) planner.Trigger {
	for node, since := range p.silent {
		if now.Sub(since) >= silentAfter {
			t.Silent = append(t.Silent, node)
		}
	}
	slices.Sort(t.Silent)
	t.Sighted = m.sighted(t.Node)
	if until := p.back[t.Node].Add(hold); hold > 0 && !p.back[t.Node].IsZero() && now.Before(until) {
		t.Held = until.UTC().Format(time.TimeOnly) + " UTC"
	}
	return t
}
