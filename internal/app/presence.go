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
	// shut are the nodes that the pass before found fenced off by all.
	shut map[string]bool
	// lives and back are each node's life in the pass before, and when it was
	// last taken back.
	lives map[string]detector.Life
	back  map[string]time.Time
}

func newPresence() *presence {
	return &presence{
		silent: map[string]time.Time{}, shut: map[string]bool{},
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

// sight remembers the end of a returned node's log as it was first read while
// nobody could confirm anything to it any more: what its slots say later must
// not be beyond that. That it was shut off is known from the pass before: the
// nodes of one observation are read side by side. Of a server that is another, or
// in an older state, nothing is remembered; nor is it once somebody reads from the
// node again, for that moves a slot, and all may be shut off once more.
func (p *presence) sight(s situation, n topology.NodeState, m *memory) {
	shut := p.shut[n.Name]
	p.shut[n.Name] = s.shut(n.Name)
	back := s.life(n.Name) == detector.LifeReturning || s.life(n.Name) == detector.LifeUp
	was := m.node(n.Name)
	same := n.Reachable && !n.InRecovery && n.Identity.SystemID == was.Identity.SystemID && n.Flushed >= was.Flushed
	switch {
	case s.readable() && !s.fenced(n.Name), s.open(n.Name):
		m.forgetSight(n.Name)
	case shut && p.shut[n.Name] && back && same:
		m.sight(n.Name, n.Flushed)
	}
}

// shut reports whether everybody that could be read and subscribes to the node
// is fenced off from it, with no worker left.
func (s situation) shut(node string) bool {
	found := false
	for _, n := range s.obs.Nodes {
		sub, ok := n.From(node)
		if !ok || n.Name == node {
			continue
		}
		if _, fenced := n.FenceOf(node); !fenced || sub.Enabled || sub.Worker != topology.WorkerNone {
			return false
		}
		found = true
	}
	return found
}

// open reports whether anybody that could be read reads from the node.
func (s situation) open(node string) bool {
	return slices.ContainsFunc(s.obs.Nodes, func(n topology.NodeState) bool {
		sub, ok := n.From(node)
		_, fenced := n.FenceOf(node)
		return ok && n.Name != node && sub.Enabled && !fenced
	})
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
