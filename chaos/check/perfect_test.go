package check_test

import (
	"fmt"
	"slices"
	"time"

	"healer/chaos/check"
	"healer/chaos/history"
	"healer/events"
	"healer/topology"
)

// dice choose for the perfect cluster: rapid's, or fixed ones.
type dice interface{ upTo(n int) int }

// fixed dice always fall the same way.
type fixed struct{ state uint64 }

func (f *fixed) upTo(n int) int {
	f.state = f.state*6364136223846793005 + 1442695040888963407
	return int(f.state>>33) % n
}

// perfect is a cluster that keeps every promise: a model of a mesh in which one node is
// lost with a gap, healed, and taken back.
type perfect struct {
	dice dice
	run  check.Run
	now  time.Duration
	// at is what has arrived at each node.
	at map[string]*place
	// lost is the node that is down, behind the laggard that does not get its last.
	lost, behind string
	fencedOff    bool
	applier      string
	items        map[string]bool
	sequence     map[string]int64
	pending      []arrival
}

// place is a node's state.
type place struct {
	server history.Server
	tables map[string]map[string]history.Row
	xid    uint64
	end    topology.LSN
	seen   map[string]int64
	slots  map[string]topology.LSN
}

// arrival is a transaction with what it did to the rows.
type arrival struct {
	t   history.Transaction
	lsn topology.LSN
}

func newPerfect(d dice, nodes int) *perfect {
	p := &perfect{dice: d, at: map[string]*place{}, items: map[string]bool{}, sequence: map[string]int64{}}
	p.run.Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p.run.Patience = time.Minute
	for i := range nodes {
		n := fmt.Sprintf("n%d", i+1)
		p.run.Nodes = append(p.run.Nodes, n)
		p.at[n] = &place{
			server: history.Server{Node: n, Tables: map[string][]history.Row{}, Progress: map[string]topology.LSN{}, Sums: map[string]string{}},
			tables: map[string]map[string]history.Row{"item": {}, "account": {}}, end: 1000, seen: map[string]int64{}, slots: map[string]topology.LSN{},
		}
	}
	for _, n := range p.run.Nodes {
		for _, m := range p.run.Nodes {
			if n != m {
				p.at[n].server.Progress[m] = 0
				p.at[n].slots[m] = 1
			}
		}
	}
	for _, n := range p.run.Nodes {
		p.write(n, "open", op(history.Insert, "account", n+"/1", "600"), op(history.Insert, "account", n+"/2", "400"))
	}
	return p
}

func op(k history.OperationKind, table, key, value string) history.Operation {
	wide := table == "item" && (k == history.Insert || k == history.Update)
	return history.Operation{Kind: k, Table: table, Key: key, Value: value, Wide: wide}
}

func (p *perfect) tick() time.Duration { p.now += time.Millisecond; return p.now }

// write commits a transaction on a node, and brings it to all that are connected.
func (p *perfect) write(node, kind string, ops ...history.Operation) {
	p.sequence[node]++
	t := history.Transaction{
		ID: history.TransactionID(node, 0, p.sequence[node]), Node: node, Sequence: p.sequence[node], Kind: kind,
		Began: p.tick(), Outcome: history.Committed, Entries: 2, Operations: ops,
	}
	p.apply(node, arrival{t: t})
	a := arrival{t: t, lsn: p.at[node].end}
	t.Ended = p.tick()
	p.run.Transactions = append(p.run.Transactions, t)
	for _, n := range p.run.Nodes {
		switch {
		case n == node || n == p.lost:
		case node == p.lost && p.fencedOff:
		case n == p.behind && node == p.doomed():
			p.pending = append(p.pending, a)
		default:
			p.apply(n, a)
		}
	}
}

// doomed is the node whose transactions do not reach the laggard.
func (p *perfect) doomed() string { return p.run.Nodes[0] }

// apply is a transaction's arrival.
func (p *perfect) apply(node string, a arrival) {
	at := p.at[node]
	at.xid++
	at.end += 100
	at.server.Journal = append(at.server.Journal, history.Entry{Transaction: a.t.ID, Of: 2, Rows: 2, Distinct: 2, First: at.xid, Last: at.xid})
	at.seen[history.ClientID(a.t.Node, 0)] = a.t.Sequence
	if node != a.t.Node {
		at.server.Progress[a.t.Node] = a.lsn
	}
	for _, o := range a.t.Operations {
		if o.Table == "" || o.Kind == history.Read {
			continue
		}
		old, there := at.tables[o.Table][o.Key]
		switch {
		case there && old.At > int64(a.t.Began): // it yields to a later write
		case o.Kind == history.Delete:
			delete(at.tables[o.Table], o.Key)
		default:
			row := history.Row{Key: o.Key, Value: o.Key + "," + a.t.ID, Transaction: a.t.ID, At: int64(a.t.Began)}
			if o.Wide {
				row.Wide = a.t.ID
			}
			at.tables[o.Table][o.Key] = row
		}
	}
}

// sample reads all nodes that live.
func (p *perfect) sample() {
	for _, n := range p.run.Nodes {
		if n == p.lost {
			continue
		}
		at := p.at[n]
		s := history.Sample{Node: n, Asked: p.tick(), Seen: map[string]int64{}, Slots: map[string]topology.LSN{}, End: at.end}
		for c, v := range at.seen {
			s.Seen[c] = v
		}
		for peer, lsn := range at.slots {
			s.Slots[peer] = lsn
		}
		if p.fencedOff {
			s.Fences = []string{p.doomed()}
		}
		if p.applier != "" && n == p.behind {
			s.Appliers = []history.Applier{{Origin: p.doomed(), Session: p.applier}}
		}
		s.At = p.tick()
		p.run.Samples = append(p.run.Samples, s)
	}
}

// keep moves the recovery slots of the nodes that have everything of all.
func (p *perfect) keep() {
	for n, at := range p.at {
		for peer := range at.slots {
			if n != p.lost && peer != p.lost && (peer != p.behind || len(p.pending) == 0) {
				at.slots[peer] = at.end
			}
		}
	}
}

// random writes something somewhere: rows of anybody, where all have the same.
func (p *perfect) random() {
	node := p.run.Nodes[p.dice.upTo(len(p.run.Nodes))]
	if node == p.lost {
		return
	}
	key := fmt.Sprintf("%d", p.dice.upTo(6))
	if node == p.doomed() || len(p.pending) > 0 {
		key = node + "-" + key // nobody else's, while not all have the same
	}
	switch p.dice.upTo(6) {
	case 0:
		p.write(node, "transfer", op(history.Update, "account", node+"/1", ""), op(history.Update, "account", node+"/2", ""))
	case 1:
		p.fail(node)
	case 2:
		var ops []history.Operation
		for _, n := range p.run.Nodes {
			ops = append(ops, op(history.Read, "account", n, "1000"))
		}
		p.write(node, "read", ops...)
	case 3:
		if p.items[key] {
			delete(p.items, key)
			p.write(node, "change", op(history.Delete, "item", key, ""))
			return
		}
		fallthrough
	default:
		k := history.Update
		if !p.items[key] {
			k = history.Insert
		}
		p.items[key] = true
		p.write(node, "change", op(k, "item", key, "1"))
	}
}

// fail is a transaction that comes to nothing.
func (p *perfect) fail(node string) {
	p.sequence[node]++
	began := p.tick()
	p.run.Transactions = append(p.run.Transactions, history.Transaction{
		ID: history.TransactionID(node, 0, p.sequence[node]), Node: node, Sequence: p.sequence[node], Kind: "rollback",
		Began: began, Ended: p.tick(), Outcome: history.Failed, Error: "taken back", Entries: 2,
	})
}

// event tells of something.
func (p *perfect) event(k events.Kind, agent string, data any, detail ...string) {
	f := events.Fact{Cluster: "app", Kind: k, Node: p.doomed(), Incarnation: "k.1", Detail: detail}
	if k != events.NodeFailed && k != events.NodeReturned {
		f.Recovery = "r1"
	}
	e, err := events.New(f, agent, p.run.Start.Add(p.tick()), data)
	if err != nil {
		panic(err)
	}
	p.run.Events = append(p.run.Events, e)
}

func (p *perfect) judged() events.Judged {
	return events.Judged{
		Node: p.doomed(), Life: "failed", Reason: "refused", Incarnation: "k.1", Episode: 1, At: p.run.Start.Add(p.now), Evidence: []events.Witnessed{},
	}
}

// journal tells of an entry.
func (p *perfect) journal(seq int, what string, more map[string]any) {
	data := map[string]any{
		"event": what, "seq": seq, "at": p.run.Start.Add(p.now), "run": "run1", "recovery": "r1", "agent": "n2", "node": p.doomed(),
	}
	for k, v := range more {
		data[k] = v
	}
	p.event(events.JournalEntry, "n2", data, "run1", fmt.Sprint(seq))
}

// lose ends the first node while the last one is behind, and heals.
func (p *perfect) lose() {
	p.behind = p.run.Nodes[len(p.run.Nodes)-1]
	for range 6 {
		p.write(p.doomed(), "transfer", op(history.Update, "account", p.doomed()+"/1", ""))
		p.sample()
		p.keep()
	}
	from := p.tick()
	p.lost = p.doomed()
	p.event(events.NodeFailed, "n2", p.judged())
	p.fencedOff = true
	p.sample()
	step := map[string]any{"id": "s1", "kind": "subscribe", "node": "n2", "target": p.behind}
	p.event(events.RecoveryPlanned, "n2", events.Planned{Plan: "recovery", Node: p.lost, Survivors: p.run.Nodes[1:]})
	gap := map[string]any{"target": p.behind, "from": p.at[p.behind].server.Progress[p.lost], "to": p.at[p.lost].end}
	p.journal(1, "begin", map[string]any{"plan": map[string]any{"lanes": []any{gap}}})
	p.event(events.RecoveryStarted, "n2", events.Started{Plan: "recovery", Node: p.lost, Run: "run1"}, "run1")
	p.journal(2, "intent", map[string]any{"step": step})
	p.applier = "4711 at 03:04"
	p.sample()
	for range 3 {
		p.random()
	}
	n := int64(len(p.pending))
	for _, a := range p.pending {
		p.apply(p.behind, a)
	}
	p.pending = nil
	p.sample()
	p.journal(3, "step", map[string]any{"step": step, "state": "done", "duration": int64(time.Millisecond), "figures": map[string]int64{"missing": n, "transactions": n}})
	p.event(events.RecoveryStep, "n2", events.Step{Step: "s1", Kind: "subscribe", Node: "n2", Target: p.behind, Run: "run1", State: "done", Attempts: 1}, "s1", "done")
	p.applier = ""
	p.event(events.RecoveryVerified, "n2", events.Verified{Node: p.lost, Survivors: p.run.Nodes[1:], Laggards: map[string]int64{p.behind: n}, PhasesMS: map[string]int64{}, Run: "run1"})
	p.journal(4, "end", map[string]any{"state": "verified"})
	p.sample()
	p.run.Faults = append(p.run.Faults, history.FaultRecord{Kind: "server_kill", Target: p.lost, Lost: []string{p.lost}, From: from})
}

// finish takes what the survivors have.
func (p *perfect) finish() check.Run {
	if p.lost != "" {
		p.run.Lost = []string{p.lost}
	}
	for _, n := range p.run.Nodes {
		if n == p.lost {
			continue
		}
		at := p.at[n]
		for table, rows := range at.tables {
			var all []history.Row
			for _, r := range rows {
				all = append(all, r)
			}
			slices.SortFunc(all, func(a, b history.Row) int { return compare(a.Key, b.Key) })
			at.server.Tables[table] = all
		}
		for _, m := range p.run.Nodes {
			at.server.Sums[m] = "1000"
		}
		if p.fencedOff {
			at.server.Left.Fences, at.server.Left.Disabled = []string{p.lost}, []string{p.lost}
		}
		p.run.Servers = append(p.run.Servers, at.server)
	}
	p.run.Length = p.tick()
	return p.run
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// perfectRun is a run with so many random transactions before the loss and after it.
func perfectRun(d dice, nodes, transactions int) check.Run {
	p := newPerfect(d, nodes)
	for range transactions {
		p.random()
		p.sample()
		p.keep()
	}
	p.lose()
	for range transactions {
		p.random()
		p.sample()
		p.keep()
	}
	return p.finish()
}
