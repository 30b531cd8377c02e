package scenario

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"healer/chaos/fault"
	"healer/chaos/workload"
)

// Drawing says among what scenarios are drawn.
type Drawing struct {
	// MinNodes and MaxNodes bound the size of the cluster.
	MinNodes, MaxNodes int
	// Majors are PostgreSQL's major versions; 0 is the newest that is found. Mixed
	// draws one for each node among the others, among all where they are fewer than two.
	Majors []int
	// Able says why a fault cannot be made on this machine; nil can make all.
	Able func(fault.Fault) error
	// Plot names the one plot that is drawn; empty means all.
	Plot string
}

// Size draws only how many nodes a seed has, and which versions.
func (d Drawing) Size(seed uint64) (nodes int, pg Majors) {
	dice := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // dice
	nodes = d.MinNodes + dice.IntN(d.MaxNodes-d.MinNodes+1)
	return nodes, d.drawn(seed, nodes, d.Majors[dice.IntN(len(d.Majors))])
}

// Draw draws the scenario of a seed.
func (d Drawing) Draw(seed uint64) *Scenario {
	s := &Scenario{Seed: seed, Length: 2 * time.Second}
	s.Nodes, s.PG = d.Size(seed)
	g := &draw{Drawing: d, dice: rand.New(rand.NewPCG(seed, 2)), nodes: NodeNames(s.Nodes)} //nolint:gosec // dice
	p := g.plot()
	p.make(g)
	for range g.dice.IntN(3) {
		g.noise()
	}
	sort.SliceStable(g.events, func(i, j int) bool { return g.events[i].At < g.events[j].At })
	s.Name, s.About, s.Schedule, s.Workload = fmt.Sprintf("seed-%d", seed), p.about, g.events, g.workload
	return s
}

// draw is a scenario that is being drawn.
type draw struct {
	Drawing
	dice   *rand.Rand
	nodes  []string
	events []Event
	// workload is zero where the plot is for the ordinary one.
	workload Workload
	// busy are the servers and agents that a fault has been drawn for.
	busy []string
}

// plot is a story that the faults of a scenario tell together.
type plot struct {
	name, about string
	weight      int
	// least is how many nodes it needs.
	least int
	make  func(*draw)
}

func plots() []plot {
	return []plot{
		{"gap", "a node is lost while others lag behind it", 20, 3, (*draw).gap},
		{"late", "a node is lost while others lag, and these get each other's writes late", 6, 3, (*draw).late},
		{"source", "a node is lost while others lag, and the source of its recovery with it", 8, 3, (*draw).sourceLost},
		{"healer", "a node is lost while others lag, and the agent that heals it is killed at a step", 10, 3, (*draw).healerLost},
		{"two", "two nodes are lost while others lag behind them", 10, 4, (*draw).two},
		{"majority", "so many nodes are lost that nobody may act", 5, 3, (*draw).majority},
		{"partition", "a node is cut off from all others", 8, 3, (*draw).partition},
		{"links", "links break", 11, 3, (*draw).links},
		{"agents", "agents fail", 8, 3, (*draw).agents},
		{"nats", "NATS fails while a node is lost", 5, 3, (*draw).nats},
		{"servers", "servers restart, crash and fill up", 9, 3, (*draw).servers},
	}
}

// Plots are the names of all plots.
func Plots() []string {
	var out []string
	for _, p := range plots() {
		out = append(out, p.name)
	}
	return out
}

func (g *draw) plot() plot {
	all := slices.DeleteFunc(plots(), func(p plot) bool {
		return p.least > len(g.nodes) || g.Plot != "" && p.name != g.Plot
	})
	if len(all) == 0 { // the plot needs more nodes
		return plots()[0]
	}
	sum := 0
	for _, p := range all {
		sum += p.weight
	}
	at := g.dice.IntN(sum)
	for _, p := range all {
		if at -= p.weight; at < 0 {
			return p
		}
	}
	return all[0]
}

// add adds a fault unless this machine cannot make it, or its node is taken.
func (g *draw) add(e Event) {
	if g.Able != nil && g.Able(e.Fault) != nil {
		return
	}
	for _, r := range e.Fault.Strikes() {
		if slices.Contains(g.busy, r) {
			return
		}
	}
	g.busy = append(g.busy, e.Fault.Strikes()...)
	g.events = append(g.events, e)
}

// between draws a time, in whole 10 ms.
func (g *draw) between(from, to time.Duration) time.Duration {
	return (from + time.Duration(g.dice.Int64N(int64(to-from)+1))).Round(10 * time.Millisecond)
}

func (g *draw) node() string { return g.nodes[g.dice.IntN(len(g.nodes))] }

// others are the other nodes in some order.
func (g *draw) others(but ...string) []string {
	out := slices.DeleteFunc(slices.Clone(g.nodes), func(n string) bool { return slices.Contains(but, n) })
	g.dice.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func pick[T any](g *draw, among ...T) T { return among[g.dice.IntN(len(among))] }

// lose makes others lag behind a node, and takes it away.
func (g *draw) lose(victim string, at time.Duration, but ...string) {
	peers := g.others(append(but, victim)...)
	behind := 1 + g.dice.IntN(max(1, len(peers)-1))
	length := g.between(1500*time.Millisecond, 4*time.Second)
	gone := at + g.between(300*time.Millisecond, 1200*time.Millisecond)
	for _, p := range peers[:min(behind, len(peers))] {
		g.add(Event{At: g.between(at/2, gone-100*time.Millisecond), For: gone - at + length, Fault: fault.Fault{
			Kind: fault.LinkCut, Link: fault.Replication, Node: victim, Peer: p, Way: pick(g, fault.Both, fault.ToPeer, fault.Both),
		}})
	}
	kinds := []fault.Fault{
		{Kind: fault.ServerKill},
		{Kind: fault.NodeKill},
		{Kind: fault.NodeKill},
		{Kind: fault.ServerStop, Mode: "immediate"},
		{Kind: fault.ServerStop, Mode: "fast"},
		{Kind: fault.PostmasterKill},
		{Kind: fault.ServerFreeze},
		{Kind: fault.RecoveryCrash},
	}
	f := pick(g, kinds...)
	f.Node = victim
	g.add(Event{At: gone, For: length, Fault: f})
}

func (g *draw) gap() {
	g.lose(g.node(), g.between(300*time.Millisecond, 600*time.Millisecond))
	if g.dice.IntN(10) < 6 {
		g.strike(pick(g,
			fault.Fault{Kind: fault.ServerKill, Node: string(Laggard)},
			fault.Fault{Kind: fault.ProcessKill, Process: fault.Backend, Node: string(Laggard)},
			fault.Fault{Kind: fault.BackendsTerminate, Node: string(Laggard)},
			fault.Fault{Kind: fault.BackendsTerminate, Node: string(Source)},
			fault.Fault{Kind: fault.AgentFreeze, Node: string(Actor)},
			fault.Fault{Kind: fault.DDL},
			fault.Fault{Kind: fault.LinkCut, Link: fault.SQL, Node: string(Actor), Peer: string(Source)},
			fault.Fault{Kind: fault.LinkReset, Link: fault.SQL, Node: string(Actor), Peer: string(Laggard)},
			fault.Fault{Kind: fault.LinkCut, Link: fault.Replication, Node: string(Source), Peer: string(Laggard)},
		))
	}
}

// late is for what the survivors write over the gap while it is carried: much of it is
// still on its way between them when the gap has come across.
func (g *draw) late() {
	victim := g.node()
	at := g.between(300*time.Millisecond, 600*time.Millisecond)
	g.lose(victim, at)
	delay := g.between(50*time.Millisecond, 300*time.Millisecond)
	for _, from := range g.others(victim) {
		for _, to := range g.others(victim, from) {
			g.add(Event{At: at, For: g.between(3*time.Second, 5*time.Second), Fault: fault.Fault{
				Kind: fault.LinkSlow, Link: fault.Replication, Node: from, Peer: to, Delay: delay,
			}})
		}
	}
	// The longer the gap is open, the more of it is written over.
	g.add(Event{
		After: "step " + pick(g, "clone", "advance", "subscribe"), For: g.between(500*time.Millisecond, 2*time.Second),
		Fault: fault.Fault{Kind: fault.AgentKill, Node: string(Actor)},
	})
	g.workload = Workload{Clients: 4, Pace: 4 * time.Millisecond, Rates: workload.Rates{Change: 60, Collide: 30, Large: 1}}
}

// strike makes a fault at some moment of the recovery.
func (g *draw) strike(f fault.Fault) {
	after := "recovery.started"
	if g.dice.IntN(3) > 0 {
		after = "step " + pick(g, steps()...)
	}
	if f.Node == string(Source) || f.Peer != "" || f.Node == string(Laggard) {
		// Only these steps have both.
		after = "step " + pick(g, "clone", "subscribe", "subscribe", "verify", "release")
	}
	g.add(Event{At: g.between(0, 120*time.Millisecond), After: after, For: g.between(300*time.Millisecond, 2*time.Second), Fault: f})
}

func (g *draw) sourceLost() {
	g.lose(g.node(), g.between(300*time.Millisecond, 600*time.Millisecond))
	g.strike(fault.Fault{Kind: pick(g, fault.ServerKill, fault.NodeKill, fault.ServerFreeze), Node: string(Source)})
}

func (g *draw) healerLost() {
	g.lose(g.node(), g.between(300*time.Millisecond, 600*time.Millisecond))
	g.add(Event{
		At: g.between(0, 60*time.Millisecond), After: "step " + pick(g, steps()...), For: g.between(200*time.Millisecond, 3*time.Second),
		Fault: fault.Fault{Kind: pick(g, fault.AgentKill, fault.AgentKill, fault.AgentStop, fault.AgentFreeze), Node: string(Actor)},
	})
}

func (g *draw) two() {
	first := g.node()
	second := g.others(first)[0]
	at := g.between(300*time.Millisecond, 600*time.Millisecond)
	g.lose(first, at, second)
	g.lose(second, at+g.between(0, time.Second), first)
}

func (g *draw) majority() {
	at, length := g.between(400*time.Millisecond, 900*time.Millisecond), g.between(1500*time.Millisecond, 3500*time.Millisecond)
	gone := g.others()[:len(g.nodes)/2+1]
	if g.dice.IntN(2) == 0 {
		g.unjudged(at, gone)
		return
	}
	for _, n := range gone {
		kind := pick(g, fault.NodeKill, fault.NodeKill, fault.AgentKill)
		g.add(Event{At: at + g.between(0, 100*time.Millisecond), For: length, Fault: fault.Fault{Kind: kind, Node: n}})
	}
}

// unjudged takes so many agents away that the others are no majority, and long after that
// a server: what they knew of each other before does not tell them of it.
func (g *draw) unjudged(at time.Duration, gone []string) {
	for _, n := range gone {
		g.add(Event{At: at, For: g.between(5*time.Second, 6*time.Second), Fault: fault.Fault{Kind: fault.AgentKill, Node: n}})
	}
	g.add(Event{
		At: at + g.between(2500*time.Millisecond, 3*time.Second), For: g.between(time.Second, 2*time.Second),
		Fault: fault.Fault{Kind: fault.ServerKill, Node: gone[0]},
	})
}

func (g *draw) partition() {
	n := g.node()
	g.add(Event{
		At: g.between(300*time.Millisecond, 800*time.Millisecond), For: g.between(2*time.Second, 5*time.Second),
		Fault: fault.Fault{Kind: fault.LinkCut, Link: pick(g, fault.All, fault.All, fault.Agents, fault.Gossip), Node: n},
	})
}

// link draws a fault of one link.
func (g *draw) link() fault.Fault {
	n := g.node()
	f := fault.Fault{
		Node: n, Peer: g.others(n)[0], Link: pick(g, fault.Replication, fault.Replication, fault.SQL, fault.SQL, fault.Gossip, fault.NATS, fault.Agents),
		Kind: pick(g, fault.LinkCut, fault.LinkCut, fault.LinkSlow, fault.LinkNarrow, fault.LinkReset, fault.LinkHalfOpen, fault.LinkRefuse),
	}
	if f.Link != fault.SQL && f.Link != fault.Replication && f.Kind != fault.LinkSlow {
		f.Kind = fault.LinkCut // packets are only lost or delayed
	}
	switch f.Kind {
	case fault.LinkCut:
		f.Way = pick(g, fault.Both, fault.ToPeer, fault.FromPeer)
	case fault.LinkSlow:
		f.Delay = g.between(20*time.Millisecond, 300*time.Millisecond)
	case fault.LinkNarrow:
		f.Rate = 1000 << g.dice.IntN(8)
	default:
	}
	return f
}

func (g *draw) links() {
	for range 2 + g.dice.IntN(3) {
		g.add(Event{At: g.between(200*time.Millisecond, 2*time.Second), For: g.between(500*time.Millisecond, 3500*time.Millisecond), Fault: g.link()})
	}
	if g.dice.IntN(2) == 0 {
		g.add(Event{At: g.between(time.Second, 2*time.Second), For: g.between(time.Second, 3*time.Second), Fault: fault.Fault{Kind: fault.ServerKill, Node: g.node()}})
	}
}

func (g *draw) agents() {
	for range 1 + g.dice.IntN(3) {
		g.add(Event{At: g.between(200*time.Millisecond, 1500*time.Millisecond), For: g.between(300*time.Millisecond, 4*time.Second), Fault: g.agent()})
	}
	if g.dice.IntN(2) == 0 {
		g.lose(g.node(), g.between(500*time.Millisecond, time.Second))
	}
}

func (g *draw) agent() fault.Fault {
	f := fault.Fault{Node: g.node(), Kind: pick(g, fault.AgentKill, fault.AgentStop, fault.AgentFreeze, fault.ClockStep)}
	if f.Kind == fault.ClockStep {
		f.Offset = pick(g, time.Hour, -time.Hour, 10*time.Second, -20*time.Second, 40*24*time.Hour)
	}
	return f
}

func (g *draw) nats() {
	f := fault.Fault{Kind: pick(g, fault.NATSLeaderLoss, fault.NATSGone, fault.NATSServerLoss)}
	if f.Kind == fault.NATSServerLoss {
		f.Node = g.node()
	}
	g.add(Event{At: g.between(300*time.Millisecond, time.Second), For: g.between(time.Second, 4*time.Second), Fault: f})
	g.lose(g.node(), g.between(300*time.Millisecond, 600*time.Millisecond))
}

func (g *draw) servers() {
	for range 1 + g.dice.IntN(2) {
		g.add(Event{At: g.between(300*time.Millisecond, 2*time.Second), For: g.between(500*time.Millisecond, 3*time.Second), Fault: g.server()})
	}
}

func (g *draw) server() fault.Fault {
	n := g.node()
	p := g.others(n)[0]
	return pick(g,
		fault.Fault{Kind: fault.RestartStorm, Node: n, Times: 2 + g.dice.IntN(2)},
		fault.Fault{Kind: fault.RecoveryCrash, Node: n},
		fault.Fault{Kind: fault.ServerFreeze, Node: n},
		fault.Fault{Kind: fault.ServerStop, Node: n, Mode: "fast"},
		fault.Fault{Kind: fault.ProcessKill, Node: n, Process: fault.Backend},
		fault.Fault{Kind: fault.ProcessKill, Node: n, Peer: p, Process: fault.Walsender},
		fault.Fault{Kind: fault.ProcessKill, Node: n, Peer: p, Process: fault.ApplyWorker},
		fault.Fault{Kind: fault.ProcessFreeze, Node: n, Peer: p, Process: fault.Walsender},
		fault.Fault{Kind: fault.ProcessFreeze, Node: n, Peer: p, Process: fault.ApplyWorker},
		fault.Fault{Kind: fault.BackendsTerminate, Node: n},
		fault.Fault{Kind: fault.DiskFull, Node: n},
		fault.Fault{Kind: fault.SlotDrop, Node: n, Peer: p, Slot: "recovery"},
		fault.Fault{Kind: fault.SubscriptionDisable, Node: n, Peer: p},
		fault.Fault{Kind: fault.DDL},
	)
}

// noise is a fault that no plot asked for.
func (g *draw) noise() {
	f := g.link()
	switch g.dice.IntN(3) {
	case 0:
		f = g.server()
	case 1:
		f = g.agent()
	}
	g.add(Event{At: g.between(200*time.Millisecond, 3*time.Second), For: g.between(300*time.Millisecond, 2*time.Second), Fault: f})
}
