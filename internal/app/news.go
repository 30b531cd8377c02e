package app

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"healer/detector"
	"healer/events"
	"healer/internal/supervisor"
)

// news is one event about a node that a new verdict makes.
type news struct {
	kind events.Kind
	// detail tells apart what would else be the same fact; all agents have the
	// same.
	detail []string
}

// watch tells of what each new verdict says, and begins a pass when a life has
// changed.
func (a *Agent) watch(ctx context.Context) {
	told := map[string]detector.Verdict{}
	for v := range a.detector.Watch(ctx) {
		was := told[v.Node]
		for _, n := range newsOf(was, v) {
			a.tell(events.Fact{
				Cluster: a.cfg.Cluster, Kind: n.kind, Node: v.Node, Incarnation: v.Incarnation, Detail: n.detail,
			}, judged(v))
		}
		told[v.Node] = v
		if quiet(v) {
			// Nobody was told of it, so nobody is to be told of its end.
			kept := v
			kept.Life = was.Life
			told[v.Node] = kept
		}
		if was.Life != v.Life {
			supervisor.Status(a.log, "%s", lives(told))
			a.poke()
		}
	}
}

// lives is a line about all nodes, such as "n1 up, n2 failed".
func lives(of map[string]detector.Verdict) string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(of)) {
		out = append(out, n+" "+string(of[n].Life))
	}
	return strings.Join(out, ", ")
}

// quiet reports whether an operator has asked for silence about the suspicion.
func quiet(v detector.Verdict) bool { return v.Maintained && v.Life == detector.LifeSuspected }

// newsOf are the events that a verdict makes after the one before it.
func newsOf(was, now detector.Verdict) []news {
	var out []news
	if kind, ok := kindOf(was.Life, now.Life); ok && !quiet(now) {
		out = append(out, news{kind: kind})
	}
	if now.HoldDown > was.HoldDown {
		out = append(out, news{events.NodeFlapping, []string{now.HoldDown.String()}})
	}
	switch {
	case now.Unwatched && !was.Unwatched:
		out = append(out, news{events.NodeUnwatched, []string{agentLife(now)}})
	case was.Unwatched && !now.Unwatched && now.Life != detector.LifeFailed && now.Life != detector.LifeLeft:
		// The life of the agent that was gone: of the new one not all agents
		// have heard yet.
		out = append(out, news{events.NodeWatched, []string{agentLife(was)}})
	}
	return out
}

func agentLife(v detector.Verdict) string { return strconv.FormatInt(v.AgentSince, 36) }

// kindOf is the event that a change of life makes.
func kindOf(was, now detector.Life) (events.Kind, bool) {
	if was == now {
		return "", false
	}
	if was == detector.LifeSuspected && now == detector.LifeUp {
		return events.NodeRefuted, true
	}
	kinds := map[detector.Life]events.Kind{
		detector.LifeSuspected: events.NodeSuspected, detector.LifeFailed: events.NodeFailed,
		detector.LifeLeft: events.NodeLeft, detector.LifeReturning: events.NodeReturned,
	}
	kind, ok := kinds[now]
	return kind, ok
}
