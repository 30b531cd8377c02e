package show

import (
	"fmt"
	"slices"

	"healer/internal/draw"
	"healer/topology"
)

// board is everything the live view shows. It changes only by apply.
type board struct {
	title string
	nodes []string

	lives map[string]Life
	heads map[string]topology.LSN
	// applied and fenced are by node, then origin; cut is by from, then to.
	applied map[string]map[string]topology.LSN
	fenced  map[string][]string
	cut     map[[2]string]bool
	rates   []Rate
	history map[string][]float64
	steps   []Step
	plans   draw.Plans
	events  []Happened
	note    string
	result  *Result
	// final is set for the frame that stays, which the result follows.
	final bool
	kill  *Killed
}

// sparks is how many rates the view remembers of a node.
const sparks = 24

// keptEvents bounds what the view remembers.
const keptEvents = 100

func newBoard(title string, nodes []string) *board {
	b := &board{
		title: title, nodes: nodes, lives: map[string]Life{}, heads: map[string]topology.LSN{},
		applied: map[string]map[string]topology.LSN{}, fenced: map[string][]string{},
		cut: map[[2]string]bool{}, history: map[string][]float64{},
	}
	for _, n := range nodes {
		b.lives[n] = Life{Node: n}
		b.applied[n] = map[string]topology.LSN{}
	}
	return b
}

func (b *board) apply(u Update) {
	switch u := u.(type) {
	case Step:
		b.step(u)
	case Note:
		b.note = u.Text
	case Life:
		b.lives[u.Node] = u
	case Cut:
		b.cut[[2]string{u.From, u.To}] = !u.Whole
	case Killed:
		b.kill = &u
	case Progress:
		b.progress(u)
	case Rates:
		b.rates = u.Nodes
		for _, r := range u.Nodes {
			h := append(b.history[r.Node], r.PerSecond)
			b.history[r.Node] = h[max(0, len(h)-sparks):]
		}
	case Happened:
		b.event(u)
	case Result:
		b.result = &u
	}
}

// step replaces the step of the same name, so that each has one line.
func (b *board) step(s Step) {
	b.note = ""
	if i := slices.IndexFunc(b.steps, func(o Step) bool { return o.Name == s.Name }); i >= 0 {
		b.steps[i] = s
		return
	}
	b.steps = append(b.steps, s)
}

func (b *board) progress(p Progress) {
	for n, at := range p.Heads {
		b.heads[n] = at
	}
	for n, by := range p.Applied {
		b.applied[n] = by
		b.fenced[n] = p.Fenced[n]
	}
}

func (b *board) event(h Happened) {
	b.events = append(b.events, h)
	b.events = b.events[max(0, len(b.events)-keptEvents):]
	b.plans.Take(h.Event)
}

// cell is how far node has applied origin.
type cell struct {
	lsn topology.LSN
	// missing is how many bytes of the origin's log some other node has and
	// this one lacks.
	missing uint64
	known   bool
	own     bool
	cut     bool
	fenced  bool
	// gone is set when the node's server is down: what it lacks is no gap.
	gone bool
}

func (b *board) cell(node, origin string) cell {
	if node == origin {
		at, ok := b.heads[node]
		return cell{lsn: at, known: ok, own: true}
	}
	at, ok := b.applied[node][origin]
	c := cell{
		lsn: at, known: ok && at > 0,
		cut: b.cut[[2]string{origin, node}], fenced: slices.Contains(b.fenced[node], origin),
		gone: !b.lives[node].Server,
	}
	if c.gone {
		return c
	}
	for _, n := range b.nodes {
		if n == node || n == origin {
			continue
		}
		if other := b.applied[n][origin]; other > at {
			c.missing = max(c.missing, uint64(other-at))
		}
	}
	return c
}

// worthShowing is how far a node may be behind before it is a gap to the eye:
// nodes are read one after another, so a little is always missing.
const worthShowing = 64 << 10

func (c cell) text() string {
	switch {
	case !c.known:
		return "–"
	case c.missing >= worthShowing:
		return fmt.Sprintf("−%s %s", size(c.missing), c.lsn)
	default:
		return c.lsn.String()
	}
}

func size(n uint64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%.1fM", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%dk", n>>10)
}
