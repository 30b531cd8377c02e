package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/compare"
	"healer/config"
	"healer/internal/reach"
	"healer/internal/tables"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/topology"
)

// mesh is the cluster as it is compared: all its nodes are known, some are compared.
type mesh struct {
	*reach.Cluster
	// nodes are those compared, sorted; pairs what they receive from one another.
	nodes []string
	pairs []engine.Pair
	seen  topology.Observation
	// origin is the lost node whose rows are carried; empty when none's are.
	origin string
	// barrierLimit bounds the wait for replication.
	barrierLimit time.Duration
}

// knownWithin is how long a subscription's provider may take to say who it is.
const knownWithin = 10 * time.Second

// open connects to the cluster and finds out how the nodes replicate.
func open(ctx context.Context, c *config.Config, nodes []string, barrierLimit time.Duration) (*mesh, error) {
	r, err := reach.Open(c, nil)
	if err != nil {
		return nil, err
	}
	m := &mesh{Cluster: r, nodes: nodes, barrierLimit: barrierLimit}
	if err := m.observe(ctx); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// observe reads all nodes until it is known how those compared replicate. That may
// take a moment: the server at the other end of a subscription is asked who it is.
func (m *mesh) observe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	var apart error
	for {
		seen := m.Engine.ObserveAll(ctx)
		if ctx.Err() != nil && len(m.seen.Nodes) > 0 {
			return apart // the time ran out in the middle of this reading: the one before it counts
		}
		m.seen = seen
		if err := m.unreachable(); err != nil {
			return err
		}
		m.pairs = nil
		apart = m.findPairs()
		if apart == nil && m.told() {
			return nil
		}
		if err := postgres.Pause(ctx, 100*time.Millisecond); err != nil {
			return apart // what is not told by now reads from outside of the cluster
		}
	}
}

// unreachable is the fault of a node that cannot be read.
func (m *mesh) unreachable() error {
	var live []string
	var fault *topology.Fault
	for _, n := range m.seen.Nodes {
		switch {
		case n.Reachable:
			live = append(live, n.Name)
		case slices.Contains(m.nodes, n.Name) && fault == nil:
			fault = &topology.Fault{Class: topology.Transient, Code: "node_unreachable", Node: n.Name, Err: reason(n.Problem)}
		}
	}
	if fault == nil {
		return nil
	}
	fault.Hint = "see that the server runs and accepts the DSN"
	if len(live) > 1 {
		fault.Hint += ", or compare the others: --between " + strings.Join(live, ",")
	}
	return fault
}

// reason is the last of the lines in which the driver tells what it tried.
func reason(problem string) error {
	lines := strings.Split(strings.TrimSpace(problem), "\n")
	return errors.New(strings.TrimSpace(lines[len(lines)-1]))
}

// findPairs lists who receives from whom, and returns a fault unless every two
// nodes are joined in one direction at least.
func (m *mesh) findPairs() error {
	for i, a := range m.nodes {
		for _, b := range m.nodes[i+1:] {
			joined := false
			for _, p := range []engine.Pair{{From: a, To: b}, {From: b, To: a}} {
				n, _ := m.seen.Node(p.To)
				if _, ok := n.From(p.From); ok {
					m.pairs, joined = append(m.pairs, p), true
				}
			}
			if !joined {
				return &topology.Fault{
					Class: topology.Permanent, Code: "no_subscription", Node: a,
					Hint: "healer status shows the subscriptions that are known",
					Err:  fmt.Errorf("neither %s nor %s subscribes to the other", a, b),
				}
			}
		}
	}
	return nil
}

// told reports whether the provider of every subscription is known.
func (m *mesh) told() bool {
	for _, name := range m.nodes {
		n, _ := m.seen.Node(name)
		if !n.ProvidersKnown() {
			return false
		}
	}
	return true
}

// tables are those to compare.
func (m *mesh) tables(ctx context.Context, patterns []pattern) ([]compare.Spec, error) {
	all, err := tables.Of(ctx, m.Engine, m.pairs)
	if err != nil {
		return nil, err
	}
	return pick(all, patterns, func(name topology.TableName) (bool, error) { return m.exists(ctx, name) })
}

const existsSQL = `SELECT to_jsonb(EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')))`

// exists reports whether any of the nodes has the table.
func (m *mesh) exists(ctx context.Context, name topology.TableName) (bool, error) {
	for _, n := range m.nodes {
		var there bool
		if err := m.Servers[n].JSON(ctx, &there, existsSQL, name.Schema, name.Name); err != nil || there {
			return there, err
		}
	}
	return false, nil
}

// peers are the nodes as package compare wants them.
func (m *mesh) peers() []compare.Node {
	var out []compare.Node
	for _, name := range m.nodes {
		n, _ := m.seen.Node(name)
		out = append(out, compare.Node{Name: name, Connect: m.Servers[name].Session, Authors: n.Authors()})
	}
	return out
}

// barrier waits until the nodes have applied what the others had committed.
func (m *mesh) barrier(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, m.barrierLimit)
	defer cancel()
	err := m.Engine.Barrier(limited, m.pairs)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return &topology.Fault{
			Class: topology.Transient, Code: "replication_late", Err: err,
			Hint: "see what holds up the replication with healer status, or allow it more time with --barrier-timeout",
		}
	}
	return err
}

// guard says why nothing may be repaired now: as it is now, not as it was.
func (m *mesh) guard(ctx context.Context) error {
	o := m.Engine.ObserveAll(ctx)
	for i := range o.Nodes {
		// Of the node whose rows are carried the mark is this command's.
		o.Nodes[i].Gaps = slices.DeleteFunc(o.Nodes[i].Gaps, func(g topology.GapMark) bool { return g.Origin == m.origin })
	}
	return mayRepair(o, m.nodes)
}

// mayRepair refuses while a recovery is under way anywhere, for it compares and
// repairs itself, and while one of the nodes is fenced off: what it lacks will
// come when it is taken back.
func mayRepair(o topology.Observation, nodes []string) error {
	for _, n := range o.Nodes {
		involved := slices.Contains(nodes, n.Name)
		if !n.Reachable {
			if involved {
				return &topology.Fault{Class: topology.Transient, Code: "node_unreachable", Node: n.Name, Err: reason(n.Problem)}
			}
			continue
		}
		for _, g := range n.Gaps {
			return &topology.Fault{
				Class: topology.Conflict, Code: "recovery_running", Node: n.Name, Hint: "wait until the recovery is verified: healer status",
				Err: fmt.Errorf("nothing is repaired while the recovery of %s is under way", g.Origin),
			}
		}
		for _, f := range n.Fences {
			if involved && slices.Contains(nodes, f.Origin) {
				return &topology.Fault{
					Class: topology.Conflict, Code: "node_fenced", Node: n.Name,
					Hint: "wait until " + f.Origin + " is taken back, or leave it out with --between",
					Err:  fmt.Errorf("nothing is repaired while %s is fenced off", f.Origin),
				}
			}
		}
	}
	return nil
}

// notes tell what a reader of the report must know of the mesh.
func (m *mesh) notes() []string {
	var out []string
	for _, name := range m.nodes {
		n, _ := m.seen.Node(name)
		for _, f := range n.Fences {
			if slices.Contains(m.nodes, f.Origin) {
				out = append(out, fmt.Sprintf("%s is fenced off from %s: what it has not sent yet counts as different", f.Origin, name))
			}
		}
		for _, g := range n.Gaps {
			out = append(out, fmt.Sprintf("the recovery of %s on %s is not verified yet", g.Origin, name))
		}
	}
	for _, n := range m.seen.Nodes {
		if !slices.Contains(m.nodes, n.Name) {
			out = append(out, n.Name+" was not compared")
		}
	}
	return out
}
