package api

import (
	"fmt"
	"slices"
	"time"

	"healer/control"
	"healer/events"
	"healer/topology"
)

// Assess says in which state a cluster is and why: State is the worst of all
// reasons, and the reasons of the worst state come first. It reads the facts of
// s and neither s.State nor s.Reasons.
func Assess(s Status) (State, []string) {
	if s.At.IsZero() {
		return Unknown, []string{"the mesh has not been observed yet"}
	}
	var critical, degraded []string
	for _, f := range []func(Status) (critical, degraded []string){
		assessRecovery, assessControl, assessNodes, assessWitnesses, assessProgress, assessSlots, assessNATS, assessGossip, assessCertificates,
	} {
		c, d := f(s)
		critical, degraded = append(critical, c...), append(degraded, d...)
	}
	switch reasons := slices.Concat(critical, degraded); {
	case len(critical) > 0:
		return Critical, reasons
	case len(degraded) > 0:
		return Degraded, reasons
	default:
		return Healthy, []string{}
	}
}

// assessRecovery: a refusal that does not pass by itself, and a failed
// recovery, wait for an operator.
func assessRecovery(s Status) (critical, degraded []string) {
	for _, r := range s.Refusals {
		why := fmt.Sprintf("%s: refused (%s): %s", r.Subject, r.Reason, r.Why)
		if r.Wait {
			degraded = append(degraded, why)
		} else {
			critical = append(critical, why)
		}
	}
	if c := s.Current; c != nil {
		degraded = append(degraded, fmt.Sprintf("%s: %s %s is running", c.Node, c.Kind, c.ID))
	}
	// A later recovery under way is the answer to an earlier failure, and so is a
	// node that is part of the mesh again.
	if l := s.Last; l != nil && l.State == RecoveryFailed && s.Current == nil && !takesPart(s, l.Node) {
		critical = append(critical, fmt.Sprintf("%s: %s %s failed: %s", l.Node, l.Kind, l.ID, l.Error))
	}
	if s.Paused {
		degraded = append(degraded, "healing is paused by an operator")
	}
	for _, e := range s.Control {
		if e.Kind == control.Pause && e.Subject != "" {
			degraded = append(degraded, "healing of "+e.Subject+" is paused by an operator")
		}
	}
	return critical, degraded
}

// takesPart reports whether the node lives and no other is fenced off from it: none
// would be let near it before all that was left of its recovery is done.
func takesPart(s Status, node string) bool {
	for _, n := range s.Nodes {
		if n.Name == node && (n.Life != LifeUp || !n.Reachable) {
			return false
		}
		if !n.Reachable || slices.ContainsFunc(n.Subscriptions, func(sub Subscription) bool { return sub.Fenced && sub.Provider == node }) {
			return false
		}
	}
	return true
}

func assessNodes(s Status) (critical, degraded []string) {
	usable := 0
	for _, n := range s.Nodes {
		d := nodeReasons(n)
		if n.Life == LifeUp && n.Reachable {
			usable++
		}
		degraded = append(degraded, d...)
	}
	if usable == 0 && len(s.Nodes) > 0 {
		critical = append(critical, "no node is alive and reachable")
	}
	return critical, degraded
}

func nodeReasons(n Node) []string {
	var out []string
	switch {
	case n.Life != LifeUp && n.Reason != "":
		out = append(out, fmt.Sprintf("%s: is %s: %s", n.Name, n.Life, n.Reason))
	case n.Life != LifeUp:
		out = append(out, fmt.Sprintf("%s: is %s", n.Name, n.Life))
	case !n.Reachable:
		out = append(out, fmt.Sprintf("%s: cannot be read: %s", n.Name, n.Problem))
	case n.Unwatched:
		out = append(out, n.Name+": is unwatched: its agent is gone, and nobody keeps its recovery slots moving")
	case !n.AgentAlive:
		out = append(out, n.Name+": its agent is not a live member")
	}
	out = append(out, conditionReasons(n)...)
	if n.Life == LifeUp && len(n.Uncompared) > 0 {
		out = append(out, n.Name+": "+topology.WhyOwed(n.Name, n.Uncompared)+", and is still to be compared")
	}
	if !n.Reachable {
		return out // what follows was not read
	}
	for _, f := range n.Findings {
		if f.Blocking {
			out = append(out, fmt.Sprintf("%s: not ready (%s): %s", n.Name, f.Code, f.Detail))
		}
	}
	for _, sub := range n.Subscriptions {
		switch {
		case sub.Fenced:
			out = append(out, fmt.Sprintf("%s: fenced off from %s", n.Name, sub.Provider))
		case !sub.Enabled:
			out = append(out, fmt.Sprintf("%s: subscription %s is disabled, and not by healer", n.Name, sub.Name))
		}
	}
	return out
}

// conditionReasons are what the detector found, unless it has been said: that
// the agent is gone, and what stands in the reason of the node's life.
func conditionReasons(n Node) []string {
	var out []string
	for _, c := range n.Conditions {
		if c.Code == "agent_gone" || c.Severity == events.Info || (n.Life != LifeUp && c.Code != "flapping") {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s (%s)", n.Name, c.Text, c.Code))
	}
	return out
}

// assessControl: what an operator has switched off is not healed.
func assessControl(s Status) (critical, degraded []string) {
	for _, e := range s.Control {
		if e.Kind == control.Maintenance {
			degraded = append(degraded, fmt.Sprintf("%s: is under maintenance until %s%s", e.Subject, e.Until.UTC().Format(time.RFC3339), saidBy(e)))
		}
	}
	return nil, degraded
}

func saidBy(e control.Entry) string {
	out := ""
	if e.By != "" {
		out += " by " + e.By
	}
	if e.Reason != "" {
		out += ": " + e.Reason
	}
	return out
}

// assessWitnesses: without them the next loss may find no majority.
func assessWitnesses(s Status) (critical, degraded []string) {
	for _, w := range s.Witnesses {
		if !w.AgentAlive {
			degraded = append(degraded, w.Name+": the witness is not a live member")
		}
	}
	return nil, degraded
}

// assessProgress: that a node lags an origin which lives is replication at
// work; of an origin which does not, it is a gap.
func assessProgress(s Status) (critical, degraded []string) {
	for _, p := range s.Progress {
		i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == p.Origin })
		if p.Missing == 0 || i < 0 || s.Nodes[i].Life != LifeFailed {
			continue
		}
		degraded = append(degraded, fmt.Sprintf("%s: lacks %s of %s", p.Node, topology.SizeText(p.Missing), p.Origin))
	}
	return nil, degraded
}

func assessSlots(s Status) (critical, degraded []string) {
	for _, sl := range s.Slots {
		switch {
		case sl.WALStatus == "lost" && sl.Kind == topology.SlotMesh:
			critical = append(critical, fmt.Sprintf("%[1]s: slot %[2]s has lost its WAL: %[3]s gets nothing more of %[1]s, until healer node rebuild %[3]s", sl.Node, sl.Name, sl.For))
		case sl.WALStatus == "lost":
			critical = append(critical, fmt.Sprintf("%s: slot %s has lost its WAL: %s cannot be healed from here", sl.Node, sl.Name, sl.For))
		case sl.WALStatus == "unreserved":
			critical = append(critical, fmt.Sprintf("%s: slot %s is about to lose its WAL", sl.Node, sl.Name))
		case sl.AtRisk:
			degraded = append(degraded, fmt.Sprintf("%s: slot %s holds back %s of WAL", sl.Node, sl.Name, topology.SizeText(sl.RetainedBytes)))
		}
	}
	return critical, degraded
}

// assessNATS: healing goes on without it; notifications are late.
func assessNATS(s Status) (critical, degraded []string) {
	switch {
	case !s.NATS.Connected:
		why := "NATS is not connected"
		if s.NATS.Problem != "" {
			why = s.NATS.Problem
		}
		degraded = append(degraded, "events: "+why)
	case !s.NATS.StreamReady:
		degraded = append(degraded, "events: the stream has no leader")
	}
	return nil, degraded
}
