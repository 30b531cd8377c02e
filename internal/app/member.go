package app

import (
	"fmt"
	"slices"
	"time"

	"healer/api"
	"healer/config"
	"healer/control"
	"healer/detector"
	"healer/planner"
	"healer/topology"
)

// member finds what the file says of this agent: a node's, or a witness.
func member(o Options) (config.Witness, error) {
	n, isNode := o.Config.Node(o.Node)
	w, isWitness := o.Config.Witness(o.Node)
	switch {
	case o.Witness && isWitness:
		return w, nil
	case !o.Witness && isNode:
		return config.Witness{Name: n.Name, Gossip: n.Gossip, API: n.API, NATS: n.NATS}, nil
	case o.Witness && isNode:
		return w, &topology.Fault{
			Code: "not_a_witness", Hint: "leave --witness out, or name one of `witnesses`",
			Err: fmt.Errorf("%q is a node of cluster %s, not a witness", o.Node, o.Config.Cluster),
		}
	case isWitness:
		return w, &topology.Fault{
			Code: "is_a_witness", Hint: "add --witness",
			Err: fmt.Errorf("%q is a witness of cluster %s, not a node", o.Node, o.Config.Cluster),
		}
	case o.Witness:
		return w, &topology.Fault{
			Code: "witness_unknown", Hint: fmt.Sprintf("give --node one of %v, or list it under `witnesses`", o.Config.WitnessNames()),
			Err: fmt.Errorf("witness %q is not in the file of cluster %s", o.Node, o.Config.Cluster),
		}
	}
	return w, &topology.Fault{
		Code: "node_unknown", Hint: fmt.Sprintf("give --node one of %v", o.Config.Names()),
		Err: fmt.Errorf("node %q is not in the file of cluster %s", o.Node, o.Config.Cluster),
	}
}

// healers are the living agents that may act: those of nodes.
func (a *Agent) healers() []string {
	return slices.DeleteFunc(a.detector.Agents(), func(name string) bool {
		_, ok := a.cfg.Node(name)
		return !ok
	})
}

// suspended are the nodes that operators have put under maintenance.
func (a *Agent) suspended() map[string]detector.Suspension {
	out := map[string]detector.Suspension{}
	for _, e := range a.control.Active(time.Now()) {
		if e.Kind == control.Maintenance {
			out[e.Subject] = detector.Suspension{Until: e.Until, Text: said(e)}
		}
	}
	return out
}

// said is who has put a node under maintenance, and why.
func said(e control.Entry) string {
	text := "it is under maintenance"
	if e.By != "" {
		text += " by " + e.By
	}
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}

// cappedText is why two nodes alone are not healed without an operator.
const cappedText = "two nodes without a witness cannot tell a death from a cut"

// capped reports whether the file asks for more than the cluster allows: what one
// of two nodes concludes about the other is no majority. With quorum half the
// operator has accepted that.
func (a *Agent) capped() bool {
	return len(a.cfg.Nodes) == 2 && len(a.cfg.Witnesses) == 0 && a.cfg.Detection.Quorum == config.QuorumMajority &&
		a.cfg.Mode == config.ModeAuto
}

// policy is what the operators allow now.
func (a *Agent) policy() planner.Policy {
	p := planner.Policy{
		Mode: planner.Mode(a.cfg.Mode), Quorum: planner.Quorum(a.cfg.Detection.Quorum),
		Witnesses: len(a.cfg.Witnesses), Rows: a.cfg.Recovery.Fallback == config.CarryRows,
	}
	if a.capped() {
		p.Mode, p.Capped = planner.ModeAdvise, cappedText
	}
	for _, name := range a.detector.Agents() {
		if _, ok := a.cfg.Witness(name); ok {
			p.WitnessesAlive++
		}
	}
	for node := range a.suspended() {
		p.Maintenance = append(p.Maintenance, node)
	}
	slices.Sort(p.Maintenance)
	return p
}

// witnessesOf are the witnesses as the status shows them.
func witnessesOf(names, alive []string, builds map[string]string) []api.Witness {
	var out []api.Witness
	for _, n := range names {
		out = append(out, api.Witness{Name: n, AgentAlive: slices.Contains(alive, n), AgentVersion: builds[n]})
	}
	return out
}

// conditionsOf are what the detector found at a node and an operator should hear
// of, in words.
func conditionsOf(v detector.Verdict) []api.Condition {
	var out []api.Condition
	for _, m := range detector.Conditions() {
		if slices.Contains(v.Findings, m.Condition) {
			out = append(out, api.Condition{Code: string(m.Condition), Severity: m.Severity, Text: m.Text, Leads: m.Leads})
		}
	}
	return out
}
