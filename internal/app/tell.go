package app

import (
	"context"
	"encoding/json"
	"path"
	"time"

	"healer/api"
	"healer/control"
	"healer/detector"
	"healer/events"
	"healer/executor"
	"healer/keeper"
	"healer/planner"
	"healer/postgres/engine"
)

// tell publishes a fact as this agent has it.
func (a *Agent) tell(f events.Fact, data any) {
	e, err := events.New(f, a.node, time.Now(), data)
	a.publish(e, err)
}

// publish hands an event to the bus. Nothing depends on its getting anywhere.
func (a *Agent) publish(e events.Event, err error) {
	if err == nil {
		err = a.told().Publish(e)
	}
	if err != nil {
		a.log.Error("event is not published", "kind", e.Kind(), "error", err)
	}
}

// counted publishes what an agent tells, and counts it.
type counted struct {
	bus   events.Publisher
	tally *api.Tally
}

// Publish implements events.Publisher.
func (c counted) Publish(e events.Event) error {
	c.tally.Count(e)
	return c.bus.Publish(e)
}

func (a *Agent) told() events.Publisher { return counted{a.bus, a.tally} }

// slotEvent tells of a slot. It is called by the keeper.
func (a *Agent) slotEvent(e keeper.Event) {
	kinds := map[keeper.EventKind]events.Kind{
		keeper.Created: events.SlotCreated, keeper.AtRisk: events.SlotAtRisk,
	}
	kind, ok := kinds[e.Kind]
	if !ok {
		return
	}
	// The position tells this slot from a later one of the same name.
	a.tell(events.Fact{
		Cluster: a.cfg.Cluster, Kind: kind, Node: a.node, Detail: []string{e.Slot.Name, e.Slot.Confirmed.String()},
	}, events.Slot{Node: a.node, For: e.Peer, Slot: e.Slot, Why: e.Why})
}

// judged is a verdict as events carry it.
func judged(v detector.Verdict) events.Judged {
	out := events.Judged{
		Node: v.Node, Life: string(v.Life), Reason: v.Reason, Condition: string(v.Condition),
		Abstained: v.Abstained, Maintained: v.Maintained, Unwatched: v.Unwatched, AgentSince: v.AgentSince,
		Incarnation: v.Incarnation, Episode: v.Episode, Identity: v.Identity,
		Failures: v.Failures, HoldDownMS: v.HoldDown.Milliseconds(), Held: v.Held,
		Evidence: make([]events.Witnessed, 0, len(v.Evidence)), At: v.At,
	}
	for _, f := range v.Findings {
		out.Findings = append(out.Findings, string(f))
	}
	for _, e := range v.Evidence {
		out.Evidence = append(out.Evidence, events.Witnessed{
			Observer: e.Observer, Kind: string(e.Kind), Condition: string(e.Condition), Detail: e.Detail,
			LastedMS: e.Lasted.Milliseconds(), AgeMS: e.Age.Milliseconds(),
		})
	}
	return out
}

// saidIn is what an operator has said as events carry it.
func saidIn(e control.Entry) events.Said {
	return events.Said{
		Kind: string(e.Kind), Subject: e.Subject, At: e.At, Until: e.Until, By: e.By, Reason: e.Reason, Ended: e.Ended,
	}
}

// learn remembers what a pass has seen of nodes that are part of the mesh. Of a
// node that is lost, returning, fenced off, or not the one it was nothing is learned: it
// may be an impostor with the name of the one that was lost.
func (a *Agent) learn(s situation) {
	if s.readable() {
		for _, n := range s.obs.Nodes {
			if n.Reachable && s.life(n.Name) == detector.LifeUp && !s.fenced(n.Name) && !s.unlike(n.Name, a.memory.node) {
				known := engine.MemoryOf(n)
				known.Applied = planner.AppliedOf(n.Name, a.before, s.obs)
				a.memory.learn(n.Name, known)
				a.memory.ends.read(n, s.at)
			}
		}
	}
	a.before = s.obs
	lives := map[string]detector.Prior{}
	for _, v := range s.verdicts {
		lives[v.Node] = v.Prior()
	}
	a.memory.learnLives(lives)
	a.memory.learnProviders(a.engine.Providers())
	a.memory.learnFeeds(a.engine.Feeds())
	a.memory.save()
}

// follow keeps the last recovery in view and every run in the book, whichever
// agent ran it.
func (a *Agent) follow(ctx context.Context) {
	stop, err := a.bus.Subscribe(ctx, events.Filter{Kinds: ">", From: events.FromStart()}, func(e events.Event) {
		if e.Kind() == events.JournalEntry {
			if entry, err := executor.EntryFrom(e); err == nil {
				a.book.take(entry)
			}
			return
		}
		if r, ok := recoveryFrom(e); ok {
			a.view.ended(r)
		}
		a.overhear(e)
	})
	if err != nil {
		a.log.Warn("recoveries of other agents are not shown", "error", err)
		return
	}
	<-ctx.Done()
	stop()
}

// overhear notes what other agents were refused. What they have read of the tables this
// agent has not.
func (a *Agent) overhear(e events.Event) {
	switch e.Kind() {
	case events.RecoveryRefused:
		var d events.Refused
		if by := path.Base(e.Source); by != a.node && json.Unmarshal(e.Data, &d) == nil {
			a.view.hear(api.Refusal{
				Subject: e.Subject, Reason: d.Reason, Node: d.Blocker, Why: d.Why, Remedy: d.Remedy, Wait: d.Wait,
				Recovery: e.Recovery, By: by,
			})
		}
	case events.RecoveryStarted, events.RecoveryVerified, events.NodeRejoined:
		a.view.unhear(e.Subject)
	}
}

// recoveryFrom reads the end of a recovery from its event.
func recoveryFrom(e events.Event) (api.Recovery, bool) {
	switch e.Kind() {
	case events.RecoveryVerified:
		var d events.Verified
		if json.Unmarshal(e.Data, &d) != nil {
			return api.Recovery{}, false
		}
		r := recoveryAt(e, "recovery", api.RecoveryVerified, d.DurationMS)
		r.Source, r.Transactions, r.Applied, r.Repaired = d.Source, d.TransactionsRecovered, d.TransactionsApplied, d.RowsRepaired
		r.Unsent = d.Unsent
		conflictsFrom(&r, d.Conflicts)
		return r, true
	case events.NodeRejoined:
		var d events.Rejoined
		if json.Unmarshal(e.Data, &d) != nil {
			return api.Recovery{}, false
		}
		return recoveryAt(e, "rejoin", api.RecoveryVerified, d.DurationMS), true
	case events.RecoveryFailed, events.RecoveryCancelled:
		var d events.Failed
		if json.Unmarshal(e.Data, &d) != nil {
			return api.Recovery{}, false
		}
		state := api.RecoveryFailed
		if e.Kind() == events.RecoveryCancelled {
			state = api.RecoveryCancelled
		}
		r := recoveryAt(e, d.Plan, state, d.DurationMS)
		r.Transactions, r.Applied = d.TransactionsRecovered, d.TransactionsRecovered
		r.Error, r.Hint, r.Unsent = d.Error, d.Hint, d.Unsent
		conflictsFrom(&r, d.Conflicts)
		return r, true
	}
	return api.Recovery{}, false
}

func conflictsFrom(r *api.Recovery, c *events.Conflicts) {
	if c != nil {
		r.Conflicts, r.ConflictCounts = c.Total, c.Counts
	}
}

func recoveryAt(e events.Event, kind, state string, durationMS int64) api.Recovery {
	took := time.Duration(durationMS) * time.Millisecond
	return api.Recovery{
		ID: e.Recovery, Kind: kind, Node: e.Subject, State: state,
		Started: e.Time.Add(-took), Duration: api.Duration(took),
	}
}
