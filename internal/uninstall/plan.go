package uninstall

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"healer/config"
	"healer/internal/reach"
	"healer/internal/steps"
	"healer/planner"
	"healer/postgres/engine"
	"healer/topology"
)

// The kinds of what is taken back, in the order in which it is: replication flows again
// before anything that it may need is gone.
const (
	kindFence       = "fence"
	kindSlot        = "slot"
	kindPublication = "publication"
	kindMark        = "mark"
)

// thing is one thing of Healer's on a node.
type thing struct {
	Node string `json:"node"`
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Why is why it is left, or what taking it back does.
	Why string `json:"why,omitempty"`

	fence topology.Fence
	about string
}

// work is the result of the command.
type work struct {
	Cluster string `json:"cluster"`
	DryRun  bool   `json:"dry_run"`
	// Done is false while it is only listed.
	Done bool `json:"done"`
	// Running are the agents that answer, Unread the nodes that do not: only --force
	// goes on beside them.
	Running []string `json:"running_agents,omitempty"`
	Unread  []string `json:"unread_nodes,omitempty"`
	Removed []thing  `json:"removed"`
	// Left is what stays, and why.
	Left []thing `json:"left,omitempty"`
}

// mesh is the cluster as the command sees it.
type mesh struct {
	*reach.Cluster
	cfg  *config.Config
	seen topology.Observation
}

// plan lists what is to be taken back, or says what stands against it: all of that at
// once.
func (m *mesh) plan(ctx context.Context, w *work) error {
	var no []*topology.Fault
	for _, n := range m.seen.Nodes {
		if !n.Reachable {
			w.Unread = append(w.Unread, n.Name)
			continue
		}
		no = append(no, m.busy(n)...)
		found, left, err := m.things(ctx, n)
		if err != nil {
			return err
		}
		w.Removed, w.Left = append(w.Removed, found...), append(w.Left, left...)
	}
	no = append(no, m.fences(ctx)...)
	no = append(no, m.owing()...)
	no = append(no, m.subscribed()...)
	order := []string{kindFence, kindSlot, kindPublication, kindMark}
	slices.SortStableFunc(w.Removed, func(a, b thing) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	return refusals(no)
}

// refusals makes one error of several.
func refusals(no []*topology.Fault) error {
	if len(no) == 0 {
		return nil
	}
	var why, hints []string
	for _, f := range no {
		why = append(why, f.Err.Error())
		if !slices.Contains(hints, f.Hint) {
			hints = append(hints, f.Hint)
		}
	}
	return &topology.Fault{
		Class: topology.Permanent, Code: no[0].Code, Node: no[0].Node, Hint: strings.Join(hints, "; "),
		Err: fmt.Errorf("nothing was done: %s", strings.Join(why, "; ")),
	}
}

func refuse(code, node, hint, format string, args ...any) *topology.Fault {
	return &topology.Fault{Class: topology.Permanent, Code: code, Node: node, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// busy refuses while a recovery holds a node.
func (m *mesh) busy(n topology.NodeState) (no []*topology.Fault) {
	for _, origin := range n.Applying {
		no = append(no, refuse("recovery_running", n.Name, "let it end: healer status",
			"%s: a recovery of %s is under way", n.Name, origin))
	}
	return no
}

// things are what Healer has on a node. A slot that feeds a subscription is the mesh's,
// whoever has made it.
func (m *mesh) things(ctx context.Context, n topology.NodeState) (found, left []thing, err error) {
	for _, f := range n.Fences {
		found = append(found, thing{
			Node: n.Name, Kind: kindFence, Name: f.Subscription, fence: f,
			Why: "reads from " + f.Origin + " again",
		})
	}
	for _, s := range n.Slots {
		switch s.Kind {
		case topology.SlotRecovery, topology.SlotSeed, topology.SlotClone:
			found = append(found, thing{Node: n.Name, Kind: kindSlot, Name: s.Name})
		case topology.SlotMesh:
			if s.Name == topology.MeshSlotName(n.Database, n.Name, s.To) {
				left = append(left, thing{Node: n.Name, Kind: kindSlot, Name: s.Name, Why: "a rebuild made it, and it feeds " + s.To})
			}
		}
	}
	publications, err := m.Engine.OwnPublications(ctx, n.Name)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range publications {
		found = append(found, thing{Node: n.Name, Kind: kindPublication, Name: p})
	}
	marks, err := m.Engine.Marks(ctx, n.Name)
	if err != nil {
		return nil, nil, err
	}
	for _, mk := range marks {
		if !mk.Fence {
			found = append(found, thing{Node: n.Name, Kind: kindMark, Name: mk.Name, about: mk.About})
		}
	}
	return found, left, m.strays(n, marks)
}

// strays refuses a fence whose subscription or node nobody knows any more: what it stood
// for cannot be judged.
func (m *mesh) strays(n topology.NodeState, marks []engine.Mark) error {
	for _, mk := range marks {
		if _, known := m.cfg.Node(mk.About); mk.Fence && !known {
			return refuse("node_unknown", n.Name, "put "+mk.About+" back into the file, or drop it: healer node drop "+mk.About,
				"%s is fenced off from %s, which is not in the file", n.Name, mk.About)
		}
	}
	return nil
}

// fences refuses to lift those behind which a node does not stand as it has to, going by
// what agents ask before they take a node back.
func (m *mesh) fences(ctx context.Context) (no []*topology.Fault) {
	asked := map[string]bool{}
	for _, n := range m.seen.Nodes {
		for _, f := range n.Fences {
			if asked[f.Origin] {
				continue
			}
			asked[f.Origin] = true
			if f := m.takesBack(ctx, f.Origin); f != nil {
				no = append(no, f)
			}
		}
		for _, g := range n.Gaps {
			if !asked[g.Origin] {
				no = append(no, refuse("recovery_unfinished", n.Name, "start the agents and let the recovery end: healer status",
					"%s: the rows carried from the log of %s are not verified", n.Name, g.Origin))
			}
		}
		for _, b := range n.Bars {
			if !asked[b.Node] {
				no = append(no, refuse(b.Reason, b.Node, "healer node rebuild "+b.Node+", or healer node drop "+b.Node,
					"%s keeps %s barred: %s", n.Name, b.Node, b.Reason))
			}
		}
	}
	return no
}

// takesBack is why a node must not be read from again; nil when it may.
func (m *mesh) takesBack(ctx context.Context, node string) *topology.Fault {
	if f, _ := m.seen.Node(node); !f.Reachable {
		return refuse("node_unreachable", node, "start it and let the agents take it back, or give it up: healer node drop "+node,
			"the others are fenced off from %s, which does not answer (%s)", node, f.Problem)
	}
	t := planner.Trigger{Kind: planner.Rejoin, Node: node, Incarnation: "uninstall"}
	p, refusal, err := steps.Plan(ctx, m.Engine, t, m.seen, planner.Policy{Mode: planner.ModeAuto, Quorum: planner.Quorum(m.cfg.Detection.Quorum)})
	switch {
	case err != nil:
		return refuse("not_readable", node, "see what it says, and try again", "%s cannot be judged: %w", node, err)
	case refusal != nil:
		return refuse(string(refusal.Reason), node, refusal.Remedy, "the others are fenced off from %s: %s", node, refusal.Why)
	}
	for _, s := range p.Steps {
		if !slices.Contains([]planner.StepKind{planner.StepCheck, planner.StepUnfence, planner.StepDrain, planner.StepRelease}, s.Kind) {
			return refuse("recovery_unfinished", node, "start the agents and let them take it back: healer status",
				"taking %s back is more than to read from it again: %s", node, s.Then)
		}
	}
	return nil
}

// owing refuses while rows have still to be compared.
func (m *mesh) owing() (no []*topology.Fault) {
	for _, n := range m.seen.Nodes {
		for _, o := range n.Owed {
			no = append(no, refuse("comparison_owed", n.Name, "start the agents and let them compare, or `healer verify --repair`",
				"%s has rows of %s still to be compared with %s", n.Name, o.Origin, o.Node))
		}
	}
	return no
}

// subscribed refuses to drop a publication that somebody of the mesh subscribes to.
func (m *mesh) subscribed() (no []*topology.Fault) {
	for _, n := range m.seen.Nodes {
		for _, s := range n.Subscriptions {
			for _, p := range s.Publications {
				if p == "healer" || p == "healer_inserts" {
					no = append(no, refuse("publication_in_use", n.Name, "on "+n.Name+": ALTER SUBSCRIPTION ... SET PUBLICATION, to one of your own",
						"subscription %s of %s reads Healer's own publication %s", s.Name, n.Name, p))
				}
			}
		}
	}
	return no
}
