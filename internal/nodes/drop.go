package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/api"
	"healer/events"
	"healer/topology"
)

// The kinds of what is removed, in the order in which it is: what holds back WAL
// first; the fence goes with its subscription, so that a node whose subscription
// is left is fenced as well.
const (
	kindSlot         = "slot"
	kindSubscription = "subscription"
	kindMark         = "mark"
)

// removeLimit bounds one removal: a slot may be held until a dead reader's
// connection is given up.
const removeLimit = time.Minute

// removal is one thing of a dropped node on a survivor.
type removal struct {
	Node string `json:"node"`
	Kind string `json:"kind"`
	Name string `json:"name"`
	// mesh slots and subscriptions are removed by what the catalogs call them.
	slot topology.Slot
	id   uint32
}

// dropped is the result of `healer node drop`.
type dropped struct {
	Node   string `json:"node"`
	DryRun bool   `json:"dry_run"`
	// Verified is false when --force was given because no verified recovery
	// stands behind it; Why says what is missing, Lost what the survivors will
	// never get.
	Verified bool          `json:"verified"`
	Why      string        `json:"why,omitempty"`
	Lost     []events.Lost `json:"lost,omitempty"`
	// Unsent is what nobody but the node has.
	topology.Unsent
	Removed []removal `json:"removed"`
	// Left are slots on survivors that nobody reads from and of which nobody
	// knows whether they fed the node.
	Left []removal `json:"left,omitempty"`
	// Lines are those of the file that describe the node.
	Lines string `json:"lines"`
	Event string `json:"event,omitempty"`
}

// dropOptions are the flags.
type dropOptions struct {
	node          string
	force, dryRun bool
	// slots are mesh slots that the operator names: NODE/SLOT.
	slots []string
}

// planDrop decides what a drop removes, or refuses.
func (m *mesh) planDrop(ctx context.Context, o dropOptions) (*dropped, error) {
	if err := m.known(o.node); err != nil {
		return nil, err
	}
	if err := m.isLost(o.node); err != nil {
		return nil, err
	}
	if err := m.majority(o.node); err != nil {
		return nil, err
	}
	d := &dropped{Node: o.node, DryRun: o.dryRun, Verified: true, Unsent: m.unsent(o.node), Removed: []removal{}}
	unread := m.readable(o.node)
	if err := errors.Join(unread, m.healed(o.node)); err != nil {
		if unread != nil {
			err = unread
		}
		d.Verified, d.Why = false, err.Error()
		d.Lost = m.losses(ctx, o.node)
		if !o.force {
			return d, &topology.Fault{
				Code: "not_verified", Node: o.node,
				Hint: "let the recovery end, or give up what is listed with --force",
				Err:  fmt.Errorf("no verified recovery stands behind the loss of %s: %w%s", o.node, err, spelled(d.Lost)),
			}
		}
	}
	var err error
	if d.Removed, d.Left, err = m.removals(ctx, o.node, o.slots); err != nil {
		return nil, err
	}
	return d, nil
}

// isLost refuses a node that lives, going by its server and by every agent.
func (m *mesh) isLost(node string) error {
	if n, _ := m.seen.Node(node); n.Reachable {
		return &topology.Fault{
			Code: "node_alive", Node: node, Hint: "stop the server for good first; to empty and fill it again: healer node rebuild " + node,
			Err: fmt.Errorf("%s answers: a node that lives is not dropped", node),
		}
	}
	for agent, s := range m.agents {
		for _, n := range s.Nodes {
			if n.Name == node && n.Life != api.LifeFailed && n.Life != api.LifeLeft && agent != node {
				return &topology.Fault{
					Class: topology.Transient, Code: "node_alive", Node: node, Hint: "wait until the agents agree: healer node list",
					Err: fmt.Errorf("the agent of %s judges %s %s", agent, node, n.Life),
				}
			}
		}
	}
	return nil
}

// removals lists what the survivors have of the node.
func (m *mesh) removals(ctx context.Context, node string, named []string) (gone, left []removal, err error) {
	for _, n := range m.others(node) {
		if !n.Reachable {
			continue
		}
		for _, s := range n.Slots {
			r := removal{Node: n.Name, Kind: kindSlot, Name: s.Name, slot: s}
			switch {
			case s.To == node, s.Kind == topology.SlotClone && s.Origin == node, slices.Contains(named, n.Name+"/"+s.Name):
				if s.Kind == topology.SlotForeign {
					r.slot.Kind = topology.SlotMesh
				}
				gone = append(gone, r)
			case s.Kind == topology.SlotForeign && !s.Active:
				left = append(left, r)
			}
		}
		for _, s := range n.Subscriptions {
			if s.Provider == node {
				gone = append(gone, removal{Node: n.Name, Kind: kindSubscription, Name: s.Name, id: s.ID})
			}
		}
		marks, err := m.Engine.MarksOf(ctx, n.Name, node)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range marks {
			gone = append(gone, removal{Node: n.Name, Kind: kindMark, Name: name})
		}
	}
	for _, name := range named {
		if !slices.ContainsFunc(gone, func(r removal) bool { return r.Kind == kindSlot && r.Node+"/"+r.Name == name }) {
			return nil, nil, &topology.Fault{
				Code: "slot_unknown", Hint: "name it as NODE/SLOT, such as n2/sub_n1_from_n2",
				Err: fmt.Errorf("--slot %s: there is no such logical slot", name),
			}
		}
	}
	return gone, left, nil
}

// carryOut removes what a plan lists. Each removal is done already when the thing
// is gone, so that a drop that was killed is run again.
func (m *mesh) carryOut(ctx context.Context, d *dropped) error {
	for _, r := range d.Removed {
		if err := m.remove(ctx, d.Node, r); err != nil {
			return fmt.Errorf("%s %s on %s: %w", r.Kind, r.Name, r.Node, err)
		}
	}
	return nil
}

func (m *mesh) remove(ctx context.Context, node string, r removal) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	switch {
	case r.Kind == kindSubscription:
		return m.Engine.DropSubscription(ctx, r.Node, r.id)
	case r.Kind == kindMark:
		return m.Engine.ForgetMark(ctx, r.Node, node, r.Name)
	case r.slot.Kind == topology.SlotMesh:
		return m.Engine.DropMeshSlot(ctx, r.Node, r.Name)
	default:
		return m.Engine.DropSlot(ctx, r.Node, r.Name)
	}
}

// losses is what each survivor lacks of the node that another has.
func (m *mesh) losses(ctx context.Context, node string) []events.Lost {
	var w topology.LSN
	var source topology.NodeState
	for _, n := range m.others(node) {
		if sub, ok := n.From(node); ok && sub.Progress > w {
			w, source = sub.Progress, n
		}
	}
	var out []events.Lost
	for _, n := range m.others(node) {
		sub, ok := n.From(node)
		if !ok || sub.Progress >= w {
			continue
		}
		from := sub.Progress
		if g, ok := n.GapOf(node); ok && from == 0 {
			from = g.From
		}
		lost := events.Lost{Node: n.Name, Bytes: int64(w - from), Transactions: -1}
		if slot, ok := source.Slot(topology.SlotRecovery, n.Name, ""); ok {
			have, _ := source.From(node)
			if count, err := m.Engine.CountForeign(ctx, source.Name, slot.Name, have, from); err == nil {
				lost.Transactions = count
			}
		}
		out = append(out, lost)
	}
	return out
}

// unsent is what nobody but the node has, as the agent says that has heard most of it.
func (m *mesh) unsent(node string) topology.Unsent {
	out := topology.Unsent{UnsentUnknown: "no agent that answers has heard how far " + node + " had written its log"}
	var end topology.LSN
	for _, name := range m.cfg.Names() { // of those that have heard the same, the first
		for _, n := range m.agents[name].Nodes {
			if n.Name == node && name != node && n.LogEnd != nil && n.LogEnd.Flushed > end && n.UnsentText(node) != "" {
				out, end = n.Unsent, n.LogEnd.Flushed
			}
		}
	}
	return out
}

// goes says what goes with the node for good.
func (d *dropped) goes() string {
	switch {
	case d.UnsentBytes == nil:
		return "how much of its log goes with it is not known: " + d.UnsentUnknown
	case *d.UnsentBytes == 0:
		return "nothing of its log is known that goes with it"
	}
	return fmt.Sprintf("%s of its log, which are only on %s, go with it", topology.SizeText(*d.UnsentBytes), d.Node)
}

// spelled says in words what is lost.
func spelled(lost []events.Lost) string {
	var parts []string
	for _, l := range lost {
		count := "an unknown number of"
		if l.Transactions >= 0 {
			count = fmt.Sprint(l.Transactions)
		}
		parts = append(parts, fmt.Sprintf("%s lacks %s of its log, %s transactions", l.Node, topology.SizeText(l.Bytes), count))
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, "; ")
}
