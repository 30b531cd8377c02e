package console_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"healer/api"
	"healer/control"
	"healer/events"
	"healer/topology"
)

// scene is a cluster in some state, as an agent shows it.
type scene struct {
	status api.Status
	runs   []api.Run
	past   []event
	// want is what the page must say, by where.
	want map[string][]string

	mu      sync.Mutex
	readers []chan events.Event
	orders  []string
}

// event is one that is told, ago before now.
type event struct {
	ago        time.Duration
	kind       events.Kind
	node, plan string
	data       any
}

func (e event) made(t interface{ Fatal(...any) }) events.Event {
	out, err := events.New(events.Fact{Cluster: "app", Kind: e.kind, Node: e.node, Recovery: e.plan, Detail: []string{fmt.Sprint(e.ago, e.data)}}, "n1", time.Now().Add(-e.ago), e.data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Status implements api.Source.
func (s *scene) Status(context.Context) api.Status { return s.status }

// Recoveries implements api.RecoverySource.
func (s *scene) Recoveries(context.Context) ([]api.Run, error) { return s.runs, nil }

// Plans implements api.PlanSource.
func (s *scene) Plans(context.Context, string) ([]api.Plan, error) { return nil, nil }

// Events implements api.EventSource.
func (s *scene) Events(context.Context, events.Filter) (<-chan events.Event, error) {
	ch := make(chan events.Event, 100)
	for _, e := range s.past {
		ch <- e.made(broken{})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers = append(s.readers, ch)
	return ch, nil
}

type broken struct{}

func (broken) Fatal(v ...any) { panic(fmt.Sprint(v...)) }

// tell sends an event to all who listen.
func (s *scene) tell(t *testing.T, e event) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.readers {
		ch <- e.made(t)
	}
}

// Maintenance implements api.Steering.
func (s *scene) Maintenance(context.Context, api.MaintenanceRequest) (control.Entry, error) {
	return control.Entry{Kind: control.Maintenance}, nil
}

// Steer implements api.Steering.
func (s *scene) Steer(_ context.Context, verb api.Verb, r api.SteerRequest) (control.Entry, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	words := []string{string(verb), r.Recovery, r.Plan, r.Reason}
	if r.For > 0 {
		words = append(words, time.Duration(r.For).String())
	}
	s.orders = append(s.orders, strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	return control.Entry{Kind: control.Pause}, map[api.Verb]string{api.Approve: "approved", api.Pause: "paused"}[verb], nil
}

func (s *scene) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.orders, ", ")
}

// mesh is a mesh of three in which nothing is wrong.
func mesh() api.Status {
	now := time.Now().UTC()
	names := []string{"n1", "n2", "n3"}
	s := api.Status{
		Cluster: "app", Agent: "n1", Mode: "auto", Version: "v1.4.0", At: now,
		NATS: api.NATS{Connected: true, StreamReady: true}, Gossip: api.Gossip{Encrypted: true, Keys: 1},
	}
	for i, name := range names {
		n := api.Node{Name: name, Life: api.LifeUp, Since: now.Add(-50 * time.Hour), AgentAlive: true, Reachable: true, Ready: true, Version: 180004}
		for j, peer := range names {
			if i == j {
				continue
			}
			n.Subscriptions = append(n.Subscriptions, api.Subscription{Name: name + "_from_" + peer, Provider: peer, Enabled: true, Worker: topology.WorkerIdle})
			s.Progress = append(s.Progress, api.Progress{Origin: peer, Node: name, LSN: topology.LSN(0x1A2000000*(j+1) + 0x3F8)})
			s.Slots = append(s.Slots,
				api.Slot{Node: name, For: peer, Name: peer + "_from_" + name, Kind: topology.SlotMesh, RetainedBytes: 56 * int64(i+1) * 1024, Lag: uint64(j) * 184, WALStatus: "reserved"},
				api.Slot{Node: name, For: peer, Name: "healer_" + name + "_" + peer, Kind: topology.SlotRecovery, RetainedBytes: 3 << 20 * int64(i+j+1), Lag: 2 << 20, WALStatus: "reserved"})
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// lost takes n3 away, and fences the others off from it; n2 lacks something.
func lost(s api.Status, fenced bool) api.Status {
	n := &s.Nodes[2]
	n.Life, n.Reason, n.Since = api.LifeFailed, "refused connections, say n1 and n2", s.At.Add(-9*time.Second)
	n.Reachable, n.Ready, n.AgentAlive, n.Problem = false, false, false, "connection refused"
	alone := int64(48 << 10)
	n.UnsentBytes = &alone
	for i := range s.Nodes[:2] {
		for j, sub := range s.Nodes[i].Subscriptions {
			if sub.Provider == "n3" && fenced {
				s.Nodes[i].Subscriptions[j].Enabled, s.Nodes[i].Subscriptions[j].Fenced = false, true
			}
		}
	}
	s.Slots = slices.DeleteFunc(s.Slots, func(x api.Slot) bool { return x.Node == "n3" })
	for i, p := range s.Progress {
		if p.Origin == "n3" && p.Node == "n2" {
			s.Progress[i].LSN -= 0x150300
			s.Progress[i].Missing = 0x150300
		}
	}
	return s
}

// scenes are the states that an operator meets.
func scenes() map[string]*scene {
	return map[string]*scene{
		"healthy": healthyScene(), "healing": healingScene(), "refused": refusedScene(), "paused": pausedScene(), "unreachable": unreachableScene(),
		"begun": begunScene(),
	}
}

// begunScene is a mesh of which no position is known yet.
func begunScene() *scene {
	s := healthyScene()
	for i := range s.status.Progress {
		s.status.Progress[i].LSN = 0
	}
	s.want = map[string][]string{"#mesh": {"From n1 to n2: unknown"}, "#matrix": {"unknown"}}
	return s
}

func verified(at time.Time) api.Run {
	step := func(kind, node, target string, after, took time.Duration, said string) api.RunStep {
		return api.RunStep{Kind: kind, Node: node, Target: target, State: "done", Attempts: 1, Started: at.Add(after), Duration: api.Duration(took), Evidence: said}
	}
	ms := time.Millisecond
	return api.Run{
		Recovery: api.Recovery{
			ID: "qk3vmc2w7x5a", Kind: "recovery", Node: "n2", State: api.RecoveryVerified, Source: "n1", Started: at, Duration: api.Duration(812 * ms),
			Transactions: 600, Applied: 600, Repaired: 2, Conflicts: 3,
			ConflictCounts: []topology.ConflictCount{{Table: "public.account", Kind: "update_newer", Action: "kept", Count: 2}, {Table: "public.entry", Kind: "row_missing", Action: "added", Count: 1}},
		},
		Run: "qk3vmc2w7x5a.1", Agent: "n1", Incarnation: "4", Survivors: []string{"n1", "n3"}, Watermark: 0x1A2000500,
		Steps: []api.RunStep{
			step("fence", "n1", "", 0, 30*ms, "drained and disabled"), step("fence", "n3", "", 0, 45*ms, "drained and disabled"),
			step("observe", "", "", 46*ms, 20*ms, "n3 lacks (0/1A2000100, 0/1A2000500]"), step("clone", "n1", "n3", 70*ms, 18*ms, "healer_app_clone_n2_n3"),
			step("subscribe", "n1", "n3", 90*ms, 520*ms, "600 transactions applied"), step("verify", "", "", 612*ms, 180*ms, "1204 rows compared, 2 repaired, equal"),
			step("release", "n3", "", 793*ms, 18*ms, "clone and mark dropped"),
		},
	}
}

func healthyScene() *scene {
	s := mesh()
	run := verified(s.At.Add(-26 * time.Hour))
	s.Last = &run.Recovery
	out := &scene{
		status: s, runs: []api.Run{run},
		past: []event{
			{ago: 5 * time.Hour, kind: events.NodeSuspected, node: "n2", data: map[string]any{"reason": "n1 and n3 wait for an answer"}},
			{ago: 5*time.Hour - time.Second, kind: events.NodeRefuted, node: "n2", data: map[string]any{"reason": "it answers n3"}},
			{ago: 40 * time.Minute, kind: events.ControlPaused, data: map[string]any{"by": "anna", "reason": "network work"}},
			{ago: 20 * time.Minute, kind: events.ControlResumed, data: map[string]any{"by": "anna"}},
		},
		want: map[string][]string{
			"#verdict-title": {"healthy", "Healthy"}, "#verdict-body": {"Nothing to do"}, "#mesh": {"n1 is up", "All links replicate", "no lag"},
			"#matrix": {"on n2", "1/A20003F8"}, "#nodes": {"18.4"}, "#slots": {"n1 for n2", "recovery"}, "#events": {"node.refuted", "it answers n3"},
			"#past": {"recovery of n2", "subscribe n1 → n3", "600 transactions applied", "public.account"}, "#foot": {"NATS: connected"},
		},
	}
	for i := range 40 { // more than the panel has room for
		out.past = append(out.past, event{ago: 3*time.Hour + time.Duration(i)*time.Minute, kind: events.SlotCreated, node: "n2", data: map[string]any{"reason": "made anew"}})
	}
	return out
}

func healingScene() *scene {
	s := lost(mesh(), true)
	began := s.At.Add(-6 * time.Second)
	run := verified(began)
	run.Recovery = api.Recovery{ID: "h7zq", Kind: "recovery", Node: "n3", State: api.RecoveryRunning, Step: "subscribe n1->n2", Source: "n1", Started: began, Duration: api.Duration(6 * time.Second), Transactions: 4100, Applied: 4100}
	run.Run, run.Survivors = "h7zq.1", []string{"n1", "n2"}
	for i, st := range run.Steps {
		run.Steps[i].Node = strings.ReplaceAll(st.Node, "n3", "n2")
		run.Steps[i].Target = strings.ReplaceAll(st.Target, "n3", "n2")
	}
	run.Steps = run.Steps[:5]
	run.Steps[2].Evidence = "n2 lacks (1/4E5EB0F8, 1/4E6003F8]"
	run.Steps[4].State, run.Steps[4].Duration, run.Steps[4].Evidence = "running", 0, ""
	s.Current = &run.Recovery
	old := verified(s.At.Add(-26 * time.Hour))
	return &scene{
		status: s, runs: []api.Run{old, run},
		past: []event{
			{ago: 10 * time.Second, kind: events.NodeSuspected, node: "n3", data: map[string]any{"reason": "refused connections, says n1"}},
			{ago: 9 * time.Second, kind: events.NodeFailed, node: "n3", data: map[string]any{"reason": "refused connections, say n1 and n2"}},
			{ago: 8 * time.Second, kind: events.RecoveryPlanned, node: "n3", plan: "h7zq", data: map[string]any{
				"lanes": []any{map[string]any{"target": "n2", "source": "n1"}},
				"steps": []any{map[string]any{"id": "v", "kind": "verify"}, map[string]any{"id": "r", "kind": "release", "node": "n2"}},
			}},
			{ago: 6 * time.Second, kind: events.RecoveryStarted, node: "n3", plan: "h7zq", data: map[string]any{}},
			{ago: 5 * time.Second, kind: events.RecoveryStep, node: "n3", plan: "h7zq", data: map[string]any{"kind": "fence", "node": "n2", "state": "done", "evidence": "drained and disabled"}},
		},
		want: map[string][]string{
			"#verdict-title": {"degraded", "Healing n3"}, "#running": {"n3", "subscribe n1 → n2", "4100 transactions", "verify", "to do"},
			"#mesh": {"n3 is failed", "lacks 1.3 MiB", "n1 gives n2 what it lacks of n3"}, "#matrix .gap": {"lacks 1.3 MiB"}, "#nodes": {"only here", "48.0 KiB of its log"},
			"#events": {"node.failed", "n2 gets what it lacks from n1"},
		},
	}
}

func refusedScene() *scene {
	s := lost(mesh(), false)
	s.Mode = "advise"
	s.Refusals = []api.Refusal{
		{Subject: "n3", Reason: "mode_advises", Why: "the recovery of n3 is planned, and waits for an operator", Remedy: "healer recovery approve r3 --plan s1", Wait: true, Recovery: "r3", Plan: "s1"},
	}
	return &scene{
		status: s,
		past:   []event{{ago: 9 * time.Second, kind: events.RecoveryRefused, node: "n3", plan: "r3", data: map[string]any{"reason": "mode_advises", "why": "it waits for an operator"}}},
		want: map[string][]string{
			"#verdict-title": {"A plan waits for you"}, "#verdict-body": {"mode_advises", "healer recovery approve r3"}, "#events": {"recovery.refused"},
		},
	}
}

func pausedScene() *scene {
	s := lost(mesh(), false)
	s.Paused = true
	s.Control = []control.Entry{{Kind: control.Pause, At: s.At.Add(-10 * time.Minute), Until: s.At.Add(20 * time.Minute), By: "anna", Reason: "moving racks"}}
	s.Refusals = []api.Refusal{{Subject: "n3", Reason: "paused", Why: "the recovery of n3 is planned, but Healer is paused", Remedy: "healer resume", Wait: true, Recovery: "r3"}}
	return &scene{
		status: s,
		past:   []event{{ago: 10 * time.Minute, kind: events.ControlPaused, data: map[string]any{"by": "anna", "reason": "moving racks"}}},
		want: map[string][]string{
			"#verdict-title": {"Paused"}, "#verdict-body": {"n3 is lost and not healed", "by anna: moving racks", "healer resume"},
		},
	}
}

func unreachableScene() *scene {
	s := mesh()
	n := &s.Nodes[1]
	n.AgentAlive, n.Unwatched = false, true
	n.Conditions = []api.Condition{{Code: "agent_gone", Severity: "warning", Text: "the agent is gone beside a server that lives", Leads: "its recovery slots are not moved on"}}
	for i, sl := range s.Slots {
		if sl.Node == "n2" && sl.Kind == topology.SlotRecovery {
			s.Slots[i].RetainedBytes, s.Slots[i].AtRisk, s.Slots[i].WALStatus = 1300<<20, true, "extended"
		}
	}
	return &scene{
		status: s,
		past:   []event{{ago: time.Minute, kind: events.NodeUnwatched, node: "n2", data: map[string]any{"reason": "its agent is gone, its server answers"}}},
		want: map[string][]string{
			"#verdict-title": {"No agent on n2"}, "#verdict-body": {"unwatched", "holds back"}, "#nodes": {"agent_gone"}, "#mesh": {"its agent is gone", "no agent"},
			"#events": {"node.unwatched"}, "#slots": {"1.3 GiB"},
		},
	}
}
