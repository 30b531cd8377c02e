package planner

import (
	"fmt"
	"slices"

	"healer/events"
	"healer/topology"
)

// Make decides what is to be done about the trigger, given what was observed
// and what the policy allows. It returns one of
//
//   - a plan with steps,
//   - an empty plan: the mesh is already as the plan would leave it,
//   - a refusal. The plan is then without steps, except when it is the policy
//     that refuses: it shows what would have been done.
//
// The plan always has its id, so that a refusal can be told of as that
// recovery's.
func Make(t Trigger, obs topology.Observation, pol Policy) (Plan, *Refusal) {
	p := Plan{
		ID: t.PlanID(obs.Cluster), Kind: t.Kind,
		Cluster: obs.Cluster, Node: t.Node, Incarnation: t.Incarnation,
		// Empty and not nil: readers of the JSON find lists.
		Survivors: []string{}, Lanes: []Lane{}, Steps: []Step{},
	}
	makers := map[Kind]func(Plan, Trigger, topology.Observation, Policy) (Plan, *Refusal){
		Recovery: makeRecovery, Rejoin: makeRejoin,
	}
	maker, ok := makers[t.Kind]
	if !ok {
		return p, refuse(KindUnknown, t.Node, "ask for a recovery or a rejoin",
			"%q is no kind of plan: want recovery or rejoin", t.Kind)
	}
	if _, ok := obs.Node(t.Node); !ok {
		return p, refuse(NodeUnknown, t.Node, "healer config check shows the nodes",
			"%s is not a node of cluster %s", t.Node, obs.Cluster)
	}
	made, refusal := maker(p, t, obs, pol)
	if refusal != nil {
		return p, refusal
	}
	if made.Empty() {
		return made, nil
	}
	return made, pol.permit(made)
}

// PlanID is the id of the plan that the trigger asks for: the same for every agent and
// every attempt. Events of one id are told once, so what is left of an earlier loss
// while a life lasts has another id than the loss of that life.
func (t Trigger) PlanID(cluster string) string {
	words := []string{cluster, string(t.Kind), t.Node, t.Incarnation}
	if t.Leftover != "" {
		words = append(words, "leftover", t.Leftover)
	}
	return events.Hash(words...)
}

// Shape tells apart plans of one id that do different things: an operator who
// approves a plan approves its shape. Log positions are no part of it, because they
// grow until the fences hold.
func (p Plan) Shape() string {
	words := []string{p.ID, p.Source}
	words = append(words, p.Survivors...)
	for _, l := range p.Lanes {
		words = append(words, "lane", l.Source, l.Target)
		if l.Rows {
			words = append(words, "rows")
		}
	}
	return events.Hash(words...)
}

// permit refuses what the operator does not allow. Only a plan that has
// something to do gets here.
func (pol Policy) permit(p Plan) *Refusal {
	what := fmt.Sprintf("the %s of %s", p.Kind, p.Node)
	if p.Because != "" {
		what += " (" + p.Because + ")"
	}
	switch {
	case slices.Contains(pol.Maintenance, p.Node):
		return refuse(Maintained, p.Node, "healer node maintenance "+p.Node+" --end", "%s is planned, but %s is in maintenance", what, p.Node).wait(true)
	case pol.Cancelled && p.Kind == Recovery:
		return refuse(WasCancelled, "", "healer recovery ack "+p.ID, "%s is planned, but an operator has cancelled it", what).wait(true)
	case pol.Paused:
		return refuse(IsPaused, "", "healer resume", "%s is planned, but Healer is paused", what).wait(true)
	case pol.Mode == ModeAuto, pol.Mode == ModeAdvise && slices.Contains(pol.Approved, p.ID):
		return nil
	case pol.Mode == ModeAdvise && pol.Capped != "":
		return refuse(ModeAdvises, "", "healer recovery approve "+p.ID+"; for good, add a witness to the cluster file, or set detection.quorum: half",
			"%s is planned and waits for an operator's approval: %s", what, pol.Capped).wait(true)
	case pol.Mode == ModeAdvise:
		return refuse(ModeAdvises, "", "healer recovery approve "+p.ID,
			"%s is planned and waits for an operator's approval", what).wait(true)
	default:
		return refuse(ModeObserves, "", "set mode: auto in the cluster file and restart the agents",
			"%s is planned, but Healer is set to observe only", what)
	}
}

// quorate reports whether alive of all configured nodes may heal, with the
// witnesses that side with them.
func (pol Policy) quorate(alive, all int) bool {
	alive, all = alive+pol.WitnessesAlive, all+pol.Witnesses
	// Where an operator has to approve, the operator is the majority.
	if pol.Quorum == QuorumHalf || pol.Capped != "" {
		return 2*alive >= all
	}
	return 2*alive > all
}
