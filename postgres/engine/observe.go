package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"healer/postgres"
	"healer/postgres/mark"
	"healer/topology"
)

const (
	// observeLimit bounds one observation whose context has no deadline.
	observeLimit = 5 * time.Second
)

// Observe reads one node, within ctx and at most five seconds. It never fails:
// a node that cannot be read is not Reachable, and Problem says why.
func (e *Engine) Observe(ctx context.Context, node string) topology.NodeState {
	ctx, cancel := context.WithTimeout(ctx, observeLimit)
	defer cancel()
	state, err := e.observe(ctx, node)
	if err != nil {
		return topology.NodeState{Name: node, Problem: err.Error()}
	}
	return state
}

// ObserveAll reads all nodes side by side, so that it takes as long as the
// slowest, and so that every slot is known by the subscription that it feeds.
// Those that are known to be lost are not asked: a host that has vanished would
// hold up the others' healing until the connection attempt is given up.
// The end of a node's log is not older than what is read of it at any other node: what
// another has applied of a node that was observed is beyond its Flushed only if the node
// has lost it.
func (e *Engine) ObserveAll(ctx context.Context, lost ...string) topology.Observation {
	o := topology.Observation{Cluster: e.cluster, Nodes: make([]topology.NodeState, len(e.names))}
	var wg sync.WaitGroup
	for i, name := range e.names {
		if slices.Contains(lost, name) {
			o.Nodes[i] = topology.NodeState{Name: name, Problem: "judged lost: not asked"}
			continue
		}
		wg.Go(func() { o.Nodes[i] = e.Observe(ctx, name) })
	}
	wg.Wait()
	for _, n := range o.Nodes {
		if n.Reachable {
			e.classify(n.Name, n.Slots)
		}
	}
	e.readEnds(ctx, o)
	return o
}

// readEnds reads the ends of logs once more, now that all nodes have been read: of those
// that somebody fences off, and of those that seem to end before what has been applied of
// them. A node goes on writing, and others go on applying it: with an end that was read
// before their progress, the node would look like one that has lost what it had sent.
// Whose end cannot be read any more is not reachable.
func (e *Engine) readEnds(ctx context.Context, o topology.Observation) {
	var again []int
	for i, n := range o.Nodes {
		stale := func(by topology.NodeState) bool {
			_, fenced := by.FenceOf(n.Name)
			sub, reads := by.From(n.Name)
			return fenced || (reads && sub.Progress > n.Flushed)
		}
		if n.Reachable && !n.InRecovery && slices.ContainsFunc(o.Nodes, stale) {
			again = append(again, i)
		}
	}
	var wg sync.WaitGroup
	for _, i := range again {
		wg.Go(func() {
			n := &o.Nodes[i]
			end, err := e.readEnd(ctx, *n)
			if err != nil {
				*n = topology.NodeState{Name: n.Name, Problem: err.Error()}
				return
			}
			n.Flushed = end
		})
	}
	wg.Wait()
}

// readEnd reads the end of the log of a node that was observed, in the same life.
func (e *Engine) readEnd(ctx context.Context, n topology.NodeState) (topology.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, observeLimit)
	defer cancel()
	s, err := e.server(n.Name)
	if err != nil {
		return 0, err
	}
	var now struct {
		StartedAt int64        `json:"started_at"`
		Flushed   topology.LSN `json:"flushed"`
	}
	err = s.JSON(ctx, &now, `SELECT jsonb_build_object('started_at', `+started+`, 'flushed', pg_current_wal_flush_lsn())`)
	if err == nil && now.StartedAt != n.Identity.StartedAt {
		err = fmt.Errorf("%s: the server was started again while it was read", n.Name)
	}
	return now.Flushed, err
}

// MemoryOf is what must be remembered of a node that was observed. Nothing is
// to be remembered of one that was not reached.
func MemoryOf(n topology.NodeState) topology.Memory {
	m := topology.Memory{Identity: n.Identity, Flushed: n.Flushed, Confirmed: make(map[string]topology.LSN)}
	for _, s := range n.Slots {
		if s.Kind == topology.SlotMesh {
			m.Confirmed[s.To] = max(m.Confirmed[s.To], s.Confirmed)
		}
	}
	return m
}

func (e *Engine) observe(ctx context.Context, node string) (topology.NodeState, error) {
	s, err := e.server(node)
	if err != nil {
		return topology.NodeState{}, err
	}
	b, err := readBase(ctx, s)
	if err != nil {
		return topology.NodeState{}, err
	}
	e.providers.met(node, b.who())
	n := topology.NodeState{
		Name: node, Database: s.Database(), Reachable: true, Identity: b.identity(), Version: b.Version,
		InRecovery: b.InRecovery, Flushed: b.Flushed, Checkpoint: b.Checkpoint,
	}
	t := tongue{e.choose(b), b.grants(), b.Version}
	if t.Extension() != "" {
		n.Engine = t.Name()
	}
	if unfit := t.unfit(b); unfit != nil {
		n.Findings = []topology.Finding{*unfit}
		return n, nil
	}
	e.mu.Lock()
	e.tongues[node] = t
	e.mu.Unlock()
	var c catalog
	if err := s.JSON(ctx, &c, t.catalogSQL()); err != nil {
		if !t.foreign(err) {
			return topology.NodeState{}, err
		}
		n.Findings = []topology.Finding{t.strange(ctx, s, err)}
		return n, nil
	}
	n.Fences, n.Gaps = marksOf(s.Database(), c)
	n.Bars, n.Owed = bars(s.Database(), c.Marks), owed(s.Database(), c.Marks)
	e.providers.learn(ctx, node, c.Subscriptions, n.Fences)
	n.Subscriptions = e.exported(t, node, c.Subscriptions)
	e.feed(node, n.Subscriptions)
	n.Slots = c.Slots
	e.classify(node, n.Slots)
	e.tell(node, n.Slots)
	n.Findings = append(findings(t, b, c, n, len(e.names)-1), t.survey(ctx, s)...)
	forks, err := e.history(ctx, s, n.Identity)
	if err != nil {
		n.Findings = append(n.Findings, historyFinding(n.Identity.Timeline, err))
	}
	n.Forks = forks
	return n, nil
}

// exported turns subscriptions into the vocabulary's.
func (e *Engine) exported(d Dialect, node string, subs []Subscription) []topology.Subscription {
	out := make([]topology.Subscription, len(subs))
	for i, s := range subs {
		out[i] = topology.Subscription{
			Name: s.Name, ID: s.ID, Provider: e.providers.of(node, s), Enabled: s.Enabled,
			Origin: s.Origin, Slot: s.Slot, Publications: s.Publications,
			Progress: s.Progress, Worker: s.State(d), Writer: s.Writer,
		}
	}
	return out
}

// marksOf reads the marks of this database. A fence's Subscription is found by
// its oid: it may have been renamed since; it has no name when it was dropped.
func marksOf(database string, c catalog) ([]topology.Fence, []topology.GapMark) {
	fences, gaps := []topology.Fence{}, []topology.GapMark{}
	for _, name := range c.Marks {
		if f, ok := mark.ParseFence(database, name); ok {
			for _, s := range c.Subscriptions {
				if s.ID == f.Subscription {
					f.Fence.Subscription = s.Name
				}
			}
			f.Fence.Made = c.Made[name]
			fences = append(fences, f.Fence)
		}
		if g, ok := mark.ParseGap(database, name); ok {
			gaps = append(gaps, g)
		}
	}
	return fences, gaps
}

// unfit is why nothing can be read of the engine on a server.
func (t tongue) unfit(b base) *topology.Finding {
	oldest, why := t.Oldest()
	switch {
	case b.Version < oldest:
		return &topology.Finding{
			Code: "version", Blocking: true,
			Detail: fmt.Sprintf("PostgreSQL %d: %s %d", b.Version/10000, why, oldest/10000),
			Remedy: fmt.Sprintf("upgrade to PostgreSQL %d or newer", oldest/10000),
		}
	case t.Extension() != "" && !b.Super:
		return &topology.Finding{
			Code: "engine_unread", Blocking: true,
			Detail: fmt.Sprintf("role %s is no superuser, as whoever administers %s has to be", b.Role, t.Name()),
			Remedy: "ALTER ROLE " + postgres.Ident(b.Role) + " SUPERUSER",
		}
	case t.Extension() != "" && !b.has(t.Extension()):
		return &topology.Finding{
			Code: "engine_missing", Blocking: true, Detail: "the database has no extension " + t.Extension(),
			Remedy: "CREATE EXTENSION " + t.Extension() + ", or engine: auto in the cluster's file",
		}
	}
	return nil
}

// foreign reports that an extension's catalogs do not have what is named of them.
func (t tongue) foreign(err error) bool {
	return t.Extension() != "" && postgres.Is(err, "42703", "42P01", "42883", "42804", "3F000")
}

// strange is the finding about catalogs that are foreign.
func (t tongue) strange(ctx context.Context, s *postgres.Server, cause error) topology.Finding {
	version := "of an unknown version"
	_ = s.JSON(ctx, &version, `SELECT to_jsonb(extversion) FROM pg_extension WHERE extname = $1`, t.Extension())
	return topology.Finding{
		Code: "engine_unread", Blocking: true,
		Detail: fmt.Sprintf("the catalogs of extension %s %s are none that Healer knows: %v", t.Extension(), version, cause),
		Remedy: "use a version of it that docs/engines.md names, or of Healer that knows it",
	}
}

func historyFinding(timeline uint32, err error) topology.Finding {
	return topology.Finding{
		Code: "timeline_history", Blocking: true,
		Detail: fmt.Sprintf("the history of timeline %d cannot be read: %v", timeline, err),
		Remedy: "let Healer's role connect for replication (ALTER ROLE ... REPLICATION, pg_hba.conf)",
	}
}

// Slots lists a node's logical slots with their kinds.
func (e *Engine) Slots(ctx context.Context, node string) ([]topology.Slot, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, err
	}
	slots, err := s.Slots(ctx)
	if err != nil {
		return nil, err
	}
	e.classify(node, slots)
	return slots, nil
}

// Gaps reads a node's gap marks.
func (e *Engine) Gaps(ctx context.Context, node string) ([]topology.GapMark, error) {
	return with(e, node, func(s *postgres.Server) ([]topology.GapMark, error) { return s.Gaps(ctx) })
}

// with runs fn on a node's server.
func with[T any](e *Engine, node string, fn func(*postgres.Server) (T, error)) (T, error) {
	s, err := e.server(node)
	if err != nil {
		var zero T
		return zero, err
	}
	return fn(s)
}
