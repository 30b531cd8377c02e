package app

import (
	"slices"
	"strings"
	"sync"
	"time"

	"healer/api"
	"healer/planner"
	"healer/topology"
)

// view is what the agent knows now, written by its loops and read by the API.
type view struct {
	mu      sync.Mutex
	obs     topology.Observation
	at      time.Time
	current *api.Recovery
	last    *api.Recovery
	// refusals are this agent's, by node; heard are the last that another agent has
	// told of. asked are the plans that are asked for now: a refusal of another is
	// over.
	refusals map[string]*standing
	heard    map[string]api.Refusal
	asked    map[string]bool
}

// standing is a refusal that holds.
type standing struct {
	planner.Refusal
	recovery, shape string

	since time.Time
	told  bool
}

// patience is how long an obstacle that may pass by itself must have stood
// before anybody is told: most pass within one or two observations.
const patience = 3 * time.Second

func newView() *view {
	return &view{refusals: map[string]*standing{}, heard: map[string]api.Refusal{}, asked: map[string]bool{}}
}

func (v *view) observed(obs topology.Observation, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.obs, v.at = obs, at
}

func (v *view) observedAt() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at
}

func (v *view) observation() topology.Observation {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.obs
}

// running notes the recovery under way; nil when it has ended.
func (v *view) running(r *api.Recovery) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = r
}

// ended notes a recovery's end, unless a later one is known already: an
// agent's own outcome and the event of it arrive in any order.
func (v *view) ended(r api.Recovery) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Kind == string(planner.Rejoin) && r.State == api.RecoveryVerified {
		return // it shows in the nodes' lives; what was healed before it is the news
	}
	if v.last == nil || !r.Started.Before(v.last.Started) {
		v.last = &r
	}
}

// refuse notes the standing refusal of a plan; nil when there is none. It
// reports whether it is time to tell of it.
func (v *view) refuse(p planner.Plan, r *planner.Refusal, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.heard, p.Node) // who acts knows better
	s := v.note(p, r, now)
	if s == nil || s.told || (r.Wait && !byPolicy(r.Reason) && now.Sub(s.since) < patience) {
		return false
	}
	s.told = true
	return true
}

// stand notes what this agent would be refused, if it were the one that acts. Without a
// refusal another may know of one all the same, who has read the tables, unless
// nothing is to be done.
func (v *view) stand(p planner.Plan, r *planner.Refusal, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.note(p, r, now) == nil && p.Empty() {
		delete(v.heard, p.Node)
	}
}

// note keeps the standing refusal of a plan, and returns nil when there is none.
func (v *view) note(p planner.Plan, r *planner.Refusal, now time.Time) *standing {
	if r == nil {
		delete(v.refusals, p.Node)
		return nil
	}
	shape := ""
	if r.Reason == planner.ModeAdvises {
		shape = p.Shape()
	}
	s, had := v.refusals[p.Node]
	if !had || s.Reason != r.Reason || s.Node != r.Node || s.shape != shape {
		s = &standing{since: now}
		v.refusals[p.Node] = s
	}
	s.Refusal, s.recovery, s.shape = *r, p.ID, shape
	return s
}

// hear keeps what another agent was refused last about a node.
func (v *view) hear(r api.Refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heard[r.Subject] = r
}

// unhear forgets it: the recovery of the node goes on.
func (v *view) unhear(node string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.heard, node)
}

// refuses reports whether a refusal about the node stands.
func (v *view) refuses(node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.refusals[node]
	return ok
}

// byPolicy reports whether it is the operator who stands in the way: that does
// not pass by itself, however long one waits.
func byPolicy(r planner.Reason) bool {
	return r == planner.ModeAdvises || r == planner.ModeObserves || r == planner.IsPaused || r == planner.WasCancelled
}

// snapshot copies what changes.
func (v *view) snapshot() (topology.Observation, time.Time, *api.Recovery, *api.Recovery, []api.Refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	refusals := make([]api.Refusal, 0, len(v.refusals))
	for subject, r := range v.refusals {
		refusals = append(refusals, api.Refusal{
			Subject: subject, Reason: string(r.Reason), Node: r.Node, Why: r.Why, Remedy: r.Remedy, Wait: r.Wait,
			Recovery: r.recovery, Plan: r.shape,
		})
	}
	for subject, r := range v.heard {
		if _, own := v.refusals[subject]; !own && v.asked[r.Recovery] {
			refusals = append(refusals, r)
		}
	}
	slices.SortFunc(refusals, func(a, b api.Refusal) int { return strings.Compare(a.Subject, b.Subject) })
	current := v.current
	if current != nil {
		c := *current
		c.Duration = api.Duration(time.Since(c.Started))
		current = &c
	}
	return v.obs, v.at, current, v.last, refusals
}

// keepRefusals forgets the refusals about nodes that ask for nothing any more.
func (v *view) keepRefusals(cluster string, triggers []planner.Trigger) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for node := range v.refusals {
		if !slices.ContainsFunc(triggers, func(t planner.Trigger) bool { return t.Node == node }) {
			delete(v.refusals, node)
		}
	}
	clear(v.asked)
	for _, t := range triggers {
		v.asked[t.PlanID(cluster)] = true
		// Before a node is taken back its recovery may have to be finished.
		t.Kind = planner.Recovery
		v.asked[t.PlanID(cluster)] = true
	}
}
