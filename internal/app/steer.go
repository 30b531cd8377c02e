package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"healer/api"
	"healer/control"
	"healer/planner"
	"healer/topology"
)

// wordLimit is how long an approval, and the word that a failure is dealt with,
// count.
const wordLimit = 24 * time.Hour

// maxPause bounds a pause that ends by itself.
const maxPause = 30 * 24 * time.Hour

// told is what a command comes to: what is to be said to all agents, the last of
// them for the answer, and what becomes of it.
type told struct {
	entries []control.Entry
	said    string
}

// Steer implements api.Steering.
func (a *Agent) Steer(_ context.Context, verb api.Verb, r api.SteerRequest) (control.Entry, string, error) {
	do, ok := map[api.Verb]func(api.SteerRequest, time.Time) (told, error){
		api.Pause: a.pause, api.Resume: a.resume, api.Approve: a.approve, api.Cancel: a.cancel, api.Ack: a.acknowledge,
	}[verb]
	if !ok {
		return control.Entry{}, "", steering("verb_unknown", "see `healer help`", "%q is nothing an agent can do", verb)
	}
	now := time.Now()
	out, err := do(r, now)
	if err != nil {
		return control.Entry{}, "", err
	}
	var last control.Entry
	for _, e := range out.entries {
		e.By, e.Reason = r.By, r.Reason
		last = e
		if r.DryRun {
			last.At = now.UTC()
			continue
		}
		if last, err = a.control.Set(e, now); err != nil {
			return control.Entry{}, "", steering("not_saved", "mend the request, or the agent's data directory", "%w", err)
		}
	}
	return last, out.said, nil
}

func (a *Agent) pause(r api.SteerRequest, now time.Time) (told, error) {
	length := time.Duration(r.For)
	if err := a.known(r.Node); err != nil {
		return told{}, err
	}
	if length != 0 && (length < time.Second || length > maxPause) {
		return told{}, steering("bad_request", fmt.Sprintf("give it between 1s and %s, or leave it out to pause until it is resumed", maxPause),
			"`for`: a pause of %s is too short or too long", length)
	}
	e := control.Entry{Kind: control.Pause, Subject: r.Node}
	until := "it is resumed"
	if length > 0 {
		e.Until = now.Add(length).UTC()
		until = e.Until.Format(time.RFC3339)
	}
	return told{[]control.Entry{e}, fmt.Sprintf("no recovery%s begins until %s; one that is under way finishes", of(r.Node), until)}, nil
}

func (a *Agent) resume(r api.SteerRequest, now time.Time) (told, error) {
	if err := a.known(r.Node); err != nil {
		return told{}, err
	}
	if _, on := a.control.Get(control.Pause, r.Node, now); !on {
		hint := "see `healer status` for what holds"
		for _, e := range a.control.Active(now) {
			if e.Kind == control.Pause {
				hint = "paused is" + of(e.Subject) + ": name the same that was paused"
			}
		}
		return told{}, steering("not_paused", hint, "healing%s is not paused", of(r.Node))
	}
	return told{[]control.Entry{{Kind: control.Pause, Subject: r.Node, Ended: true}}, "recoveries" + of(r.Node) + " begin again"}, nil
}

func (a *Agent) approve(r api.SteerRequest, now time.Time) (told, error) {
	if mode := a.policy().Mode; mode != planner.ModeAdvise {
		return told{}, steering("mode_"+string(mode), "approvals are for mode: advise", "in mode %s no plan waits for an approval", mode)
	}
	p, refusal, ok := a.planned(r.Recovery)
	switch {
	case !ok:
		return told{}, unknownRecovery(r.Recovery)
	case refusal != nil && refusal.Reason != planner.ModeAdvises:
		return told{}, steering(string(refusal.Reason), refusal.Remedy, "the %s of %s cannot be approved now: %s", p.Kind, p.Node, refusal.Why)
	case p.Empty():
		return told{}, steering("nothing_to_do", "see `healer status`", "the %s of %s has nothing to do", p.Kind, p.Node)
	case r.Plan != "" && r.Plan != p.Shape():
		return told{}, steering("plan_changed", fmt.Sprintf("approve it as it is now: healer recovery approve %s --plan %s", p.ID, p.Shape()),
			"the plan has changed since: %s", summary(p))
	}
	return told{[]control.Entry{{
		Kind: control.Approval, Subject: control.Plan{Node: p.Node, ID: p.ID, Shape: p.Shape()}.Subject(), Until: now.Add(wordLimit).UTC(),
	}}, "approved: " + summary(p)}, nil
}

func (a *Agent) cancel(r api.SteerRequest, _ time.Time) (told, error) {
	node, said := "", ""
	if past := a.lastRun(r.Recovery); past != nil {
		node = past.Node
		if past.State == api.RecoveryRunning {
			said = fmt.Sprintf("the run by the agent of %s stops", past.Agent)
		}
		if past.State == api.RecoveryVerified {
			return told{}, steering("recovery_over", "see `healer recovery show "+r.Recovery+"`", "the %s of %s is over: it is verified", past.Kind, past.Node)
		}
	}
	if p, _, ok := a.planned(r.Recovery); ok {
		node = p.Node
	}
	if node == "" {
		return told{}, unknownRecovery(r.Recovery)
	}
	if said == "" {
		said = "no run is under way"
	}
	return told{
		[]control.Entry{{Kind: control.Cancellation, Subject: control.Plan{Node: node, ID: r.Recovery}.Subject()}},
		fmt.Sprintf("%s; none begins until `healer recovery ack --failed %s`, or until %s takes part again", said, node, node),
	}, nil
}

func (a *Agent) acknowledge(r api.SteerRequest, now time.Time) (told, error) {
	plan := control.Plan{Node: r.Node, ID: r.Recovery}
	switch {
	case (r.Node == "") == (r.Recovery == ""):
		return told{}, steering("bad_request", "give the recovery's id, or the node that was lost", "name one of `recovery` and `node`")
	case r.Node != "":
		if err := a.known(r.Node); err != nil {
			return told{}, err
		}
		plan.ID = a.recoveryOfNode(r.Node)
	default:
		if p, _, ok := a.planned(r.Recovery); ok {
			plan.Node = p.Node
		} else if past := a.lastRun(r.Recovery); past != nil {
			plan.Node = past.Node
		}
	}
	if plan.Node == "" {
		return told{}, unknownRecovery(r.Recovery)
	}
	var out told
	for _, e := range a.cancellations(plan.Node) {
		plan.ID = control.PlanOf(e.Subject).ID
		out.entries = append(out.entries, control.Entry{Kind: e.Kind, Subject: e.Subject, Ended: true})
	}
	if plan.ID == "" {
		return told{}, steering("nothing_to_acknowledge", "see `healer status`", "no recovery of %s has failed or was cancelled", plan.Node)
	}
	out.entries = append(out.entries, control.Entry{
		Kind: control.Acknowledgement, Subject: plan.Subject(), Until: now.Add(wordLimit).UTC(),
	})
	out.said = fmt.Sprintf("the recovery of %s is tried again at once", plan.Node)
	return out, nil
}

// recoveryOfNode is the id of what is to be done about a node; empty when nothing
// is.
func (a *Agent) recoveryOfNode(node string) string {
	for _, t := range a.triggers() {
		if t.Node == node {
			return t.PlanID(a.cfg.Cluster)
		}
	}
	return ""
}

// triggers are what there is to plan for now, as this agent last saw the mesh.
func (a *Agent) triggers() []planner.Trigger {
	s := situation{self: a.node, agents: a.detector.Agents(), verdicts: a.detector.Verdicts(), obs: a.view.observation()}
	return s.triggers(a.memory.node)
}

// planned makes the plan of an id as it would be made now, whichever agent acts.
func (a *Agent) planned(id string) (planner.Plan, *planner.Refusal, bool) {
	obs := a.view.observation()
	for _, t := range a.triggers() {
		for _, kind := range []planner.Kind{t.Kind, planner.Recovery} {
			t.Kind = kind
			if t.PlanID(obs.Cluster) == id {
				p, refusal := planner.Make(t, obs, a.policyFor(t.Node, obs))
				return p, refusal, true
			}
		}
	}
	return planner.Plan{}, nil, false
}

// lastRun is the latest run of a recovery, whichever agent made it.
func (a *Agent) lastRun(id string) *api.Run {
	runs, _ := a.Recoveries(context.Background()) // what can be read is enough
	for _, r := range slices.Backward(runs) {
		if r.ID == id {
			return &r
		}
	}
	return nil
}

// known refuses a node that the file has not; an empty name stands for all.
func (a *Agent) known(node string) error {
	if node == "" || slices.Contains(a.cfg.Names(), node) {
		return nil
	}
	return steering("node_unknown", "name one of "+strings.Join(a.cfg.Names(), ", "),
		"node %q is not in the file of cluster %s", node, a.cfg.Cluster)
}

func of(node string) string {
	if node == "" {
		return ""
	}
	return " of " + node
}

func unknownRecovery(id string) error {
	return &topology.Fault{
		Class: topology.Permanent, Code: "recovery_unknown", Hint: "see `healer status` and `healer recovery history` for the ids",
		Err: fmt.Errorf("no recovery %q is planned or under way", id),
	}
}
