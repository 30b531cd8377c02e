package executor

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"healer/events"
	"healer/planner"
	"healer/topology"
)

// What makes two events one (events.Fact.Detail), by kind:
//
//	planned    estimate, or a hash of the final plan: agents that see the same
//	           mesh announce one plan, and a changed plan is news
//	started    the run: each run that changes anything is visible
//	step       the step and "done", whoever did it or found it done; a step
//	           that was not done is told of with its state and run
//	verified   the watermark and the targets: what was verified, not by whom
//	rejoined   who reads from the node now: of two runs that overlap, the later
//	           may find half of it done
//	refused    reason and node
//	failed, cancelled   the run

// announcePlan publishes recovery.planned.
func (r *run) announcePlan(p planner.Plan) {
	data := planned(p)
	detail := "estimate"
	if p.Fenced {
		b, err := json.Marshal(data)
		if err != nil {
			r.log.Error("plan is not told of", "err", err)
			return
		}
		detail = events.Hash(string(b))
	}
	data.Unsent = p.Unsent // agents heard of it at different times: it makes no other plan
	r.publish(events.RecoveryPlanned, data, detail)
}

// Advised is the event of a plan that waits for an operator's approval. A plan that
// has changed is news.
func Advised(agent string, at time.Time, p planner.Plan) (events.Event, error) {
	data := planned(p)
	data.Unsent = p.Unsent
	return events.New(fact(p, events.RecoveryPlanned, "advised", p.Shape()), agent, at, data)
}

func planned(p planner.Plan) events.Planned {
	data := events.Planned{
		Plan: string(p.Kind), Node: p.Node, Survivors: p.Survivors, Shape: p.Shape(),
		Final: p.Fenced, Watermark: p.Watermark, Source: p.Source,
	}
	for _, l := range p.Lanes {
		data.Lanes = append(data.Lanes, events.PlannedLane{Target: l.Target, Source: l.Source, From: l.From, To: l.To, Rows: l.Rows})
	}
	for _, s := range p.Steps {
		data.Steps = append(data.Steps, events.PlannedStep{ID: s.ID, Kind: string(s.Kind), Node: s.Node, Target: s.Target})
	}
	return data
}

// announceStart publishes recovery.started, once a step has done or at least
// tried something. A run that only looks, or finds another coordinator in
// possession, has started nothing.
func (r *run) announceStart() {
	r.started.Do(func() {
		r.publish(events.RecoveryStarted, events.Started{Plan: string(r.head.Kind), Node: r.head.Node, Run: r.id}, r.id)
	})
}

// announceStep publishes recovery.step. That another coordinator is at it is no
// news: it comes up again each time this agent looks.
func (r *run) announceStep(o StepOutcome) {
	if o.State == StepYielded {
		return
	}
	data := events.Step{
		Step: o.Step.ID, Kind: string(o.Step.Kind), Node: o.Step.Node, Target: o.Step.Target,
		Run: r.id, State: string(o.State), Attempts: o.Attempts, DurationMS: o.Duration.Milliseconds(),
		Evidence: clip(o.Evidence), Figures: o.Figures,
	}
	detail := []string{o.Step.ID, string(StepDone)}
	if !o.State.ok() {
		detail = []string{o.Step.ID, string(o.State), r.id}
		data.Error, data.Hint = text(o.Err), hintOf(o.Err)
	}
	r.publish(events.RecoveryStep, data, detail...)
}

// announceVerified publishes recovery.verified as soon as it is true, before
// the release: whoever finishes a release after a crash finds no trace of what
// was verified.
func (r *run) announceVerified() {
	if len(r.plan.Lanes) == 0 {
		return
	}
	data := events.Verified{
		Node: r.plan.Node, Source: r.plan.Source, Watermark: r.plan.Watermark, Survivors: r.plan.Survivors,
		Laggards: map[string]int64{}, PhasesMS: phases(r.all()), Run: r.id,
		Remaining: slices.Concat(r.given, r.plan.Absent, r.plan.Left), Unsent: r.plan.Unsent,
		DurationMS: span(r.all()).Milliseconds(), Uncompared: uncompared(r.plan),
	}
	targets := []string{r.plan.Watermark.String()}
	for _, l := range r.plan.Lanes {
		targets = append(targets, l.Target)
		if l.Rows {
			data.Rows = append(data.Rows, l.Target)
			continue
		}
		o := r.out[planner.StepID(r.plan.ID, planner.StepSubscribe, l.Source, l.Target)]
		data.Laggards[l.Target] = o.Figures[FigureMissing]
		data.TransactionsRecovered += o.Figures[FigureMissing]
	}
	data.TransactionsApplied = sum(r.all(), FigureTransactions)
	data.RowsCompared = sum(r.all(), FigureCompared)
	data.RowsRepaired = sum(r.all(), FigureRepaired)
	data.Conflicts = told(Conflicts(r.all()))
	r.publish(events.RecoveryVerified, data, targets...)
}

// announceEnd publishes what the run came to. cause is why its context ended.
func (r *run) announceEnd(o Outcome, cause error) {
	switch o.State {
	case Verified:
		r.announceEqual(o)
	case Rejoined:
		r.announceRejoined(o)
	case Failed:
		r.announceFailed(o)
	case Cancelled:
		if errors.Is(cause, ErrCancelled) {
			r.publish(events.RecoveryCancelled, r.failure(o), r.id)
		}
	case Nothing, Yielded:
	}
}

// announceEqual publishes recovery.verified for a recovery that found nothing
// missing once it had fenced the survivors, or nobody to compare with.
func (r *run) announceEqual(o Outcome) {
	fenced := false
	for _, s := range o.Steps {
		fenced = fenced || (s.Step.Kind == planner.StepFence && s.State == StepDone)
	}
	if len(o.Plan.Lanes) > 0 || (!fenced && len(o.Plan.Uncompared) == 0) {
		return
	}
	what := []string{o.Plan.Watermark.String()}
	for _, u := range o.Plan.Uncompared {
		what = append(what, "uncompared", u.Node)
	}
	r.publish(events.RecoveryVerified, events.Verified{
		Node: o.Plan.Node, Watermark: o.Plan.Watermark, Survivors: o.Plan.Survivors,
		Remaining: slices.Concat(o.Plan.Absent, o.Plan.Left), Unsent: o.Plan.Unsent,
		Laggards: map[string]int64{}, DurationMS: o.Duration.Milliseconds(), PhasesMS: phases(o.Steps), Run: r.id,
		Uncompared: uncompared(o.Plan),
	}, what...)
}

func uncompared(p planner.Plan) (out []events.Uncompared) {
	for _, u := range p.Uncompared {
		out = append(out, events.Uncompared(u))
	}
	return out
}

// announceRejoined publishes node.rejoined, unless the node had been let in before and
// something was left to drop or to compare.
func (r *run) announceRejoined(o Outcome) {
	if !slices.ContainsFunc(o.Plan.Steps, func(s planner.Step) bool { return s.Kind == planner.StepUnfence }) {
		return
	}
	r.publish(events.NodeRejoined, events.Rejoined{
		Node: o.Plan.Node, Survivors: o.Plan.Readers,
		DurationMS: o.Duration.Milliseconds(), PhasesMS: phases(o.Steps), Run: r.id,
	}, o.Plan.Readers...)
}

// announceFailed publishes recovery.failed; or recovery.refused when it was the
// planner that stopped the run.
func (r *run) announceFailed(o Outcome) {
	if refusal, ok := errors.AsType[*planner.Refusal](o.Err); ok {
		r.publish(events.RecoveryRefused, refused(r.head.Kind, refusal), string(refusal.Reason), refusal.Node)
		return
	}
	r.publish(events.RecoveryFailed, r.failure(o), r.id)
}

// Refused is the event of a refusal. Agents that are refused for the same
// reason make one event of it.
func Refused(agent string, at time.Time, p planner.Plan, f *planner.Refusal) (events.Event, error) {
	return events.New(fact(p, events.RecoveryRefused, string(f.Reason), f.Node), agent, at, refused(p.Kind, f))
}

func refused(k planner.Kind, f *planner.Refusal) events.Refused {
	return events.Refused{
		Plan: string(k), Reason: string(f.Reason), Blocker: f.Node, Why: f.Why, Remedy: f.Remedy, Wait: f.Wait,
	}
}

// failure describes a run that did not get to its end.
func (r *run) failure(o Outcome) events.Failed {
	data := events.Failed{
		Plan: string(o.Plan.Kind), Node: o.Plan.Node, Reason: codeOf(o.Err), Error: text(o.Err), Hint: hintOf(o.Err),
		Retry: o.Replan, DurationMS: o.Duration.Milliseconds(), Run: r.id,
		TransactionsRecovered: sum(o.Steps, FigureTransactions),
		Unsent:                o.Plan.Unsent,
		Conflicts:             told(Conflicts(o.Steps)),
	}
	if o.State == Cancelled {
		data.Reason = string(Cancelled)
	}
	for _, s := range o.Steps {
		if s.Err != nil && errors.Is(o.Err, s.Err) {
			data.Step, data.Kind, data.On = s.Step.ID, string(s.Step.Kind), s.Step.Node
			if f, ok := errors.AsType[*topology.Fault](s.Err); ok && f.Node != "" {
				data.On = f.Node
			}
			break
		}
	}
	return data
}

// Conflicts puts together what the steps met.
func Conflicts(steps []StepOutcome) (all topology.ConflictLog) {
	for _, s := range steps {
		if s.Conflicts != nil {
			all.Merge(*s.Conflicts)
		}
	}
	return all
}

// What an event tells of conflicts: an event must stay far below the 64 KiB that
// any broker takes. The journal has them all.
const (
	toldCounts = 50
	toldRows   = 5
)

// told is the part of the conflicts that events carry; nil when there were none.
func told(all topology.ConflictLog) *events.Conflicts {
	if len(all.Counts) == 0 {
		return nil
	}
	first := all.First(toldRows)
	return &events.Conflicts{
		Total: all.Total(), Counts: first.Counts[:min(toldCounts, len(first.Counts))], First: first.Rows,
	}
}

func fact(p planner.Plan, k events.Kind, detail ...string) events.Fact {
	return events.Fact{
		Cluster: p.Cluster, Kind: k, Node: p.Node, Incarnation: p.Incarnation, Recovery: p.ID, Detail: detail,
	}
}

// publish hands an event on. Nothing depends on it: a recovery goes on when
// nobody can be told.
func (r *run) publish(k events.Kind, data any, detail ...string) {
	if !r.alive() {
		return
	}
	e, err := events.New(fact(r.head, k, detail...), r.cfg.Agent, r.cfg.Now(), data)
	if err == nil {
		err = r.cfg.Publisher.Publish(e)
	}
	if err != nil {
		r.log.Error("event is not published", "kind", k, "err", err)
	}
}

// all lists the outcomes there are by now.
func (r *run) all() []StepOutcome {
	out := append([]StepOutcome(nil), r.past...)
	for _, s := range r.plan.Steps {
		if o, ok := r.out[s.ID]; ok {
			out = append(out, o)
		}
	}
	return out
}

// sum adds a figure up over the steps.
func sum(steps []StepOutcome, figure string) (n int64) {
	for _, s := range steps {
		n += s.Figures[figure]
	}
	return n
}

// phases is, for each kind of step, the time from the first one's beginning to
// the last one's end, in milliseconds.
func phases(steps []StepOutcome) map[string]int64 {
	byKind := map[string][]StepOutcome{}
	for _, s := range steps {
		byKind[string(s.Step.Kind)] = append(byKind[string(s.Step.Kind)], s)
	}
	out := map[string]int64{}
	for k, of := range byKind {
		out[k] = span(of).Milliseconds()
	}
	return out
}

// span is the time from the first step's beginning to the last one's end.
func span(steps []StepOutcome) time.Duration {
	var first, last time.Time
	for _, s := range steps {
		if s.Started.IsZero() {
			continue
		}
		if first.IsZero() || s.Started.Before(first) {
			first = s.Started
		}
		if end := s.Started.Add(s.Duration); end.After(last) {
			last = end
		}
	}
	return last.Sub(first)
}

// text is an error as events and the journal carry it.
func text(err error) string {
	if err == nil {
		return ""
	}
	return clip(err.Error())
}

// clip makes one line of bounded length of a text, so that an event which names
// thousands of keys is still one that can be sent.
func clip(t string) string {
	const most = 4000
	t = strings.ReplaceAll(t, "\n", "; ")
	if len(t) > most {
		t = strings.ToValidUTF8(t[:most], "") + " ..."
	}
	return t
}
