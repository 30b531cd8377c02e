package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/api"
	"healer/control"
	"healer/events"
	"healer/topology"
)

// healthy is a mesh of three in which nothing is wrong.
func healthy() api.Status {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := api.Status{
		Cluster: "app", Agent: "n1", Mode: "auto", Version: "v1.2.3", At: at,
		NATS: api.NATS{Connected: true, StreamReady: true}, Feeds: []api.Feed{},
	}
	names := []string{"n1", "n2", "n3"}
	for _, name := range names {
		n := api.Node{Name: name, Life: api.LifeUp, Since: at, AgentAlive: true, Reachable: true, Ready: true, Version: 180004}
		for _, peer := range names {
			if peer == name {
				continue
			}
			n.Subscriptions = append(n.Subscriptions, api.Subscription{
				Name: name + "_from_" + peer, Provider: peer, Enabled: true, Worker: topology.WorkerIdle,
			})
			s.Progress = append(s.Progress, api.Progress{Origin: peer, Node: name, LSN: 0x1000})
			s.Slots = append(s.Slots, api.Slot{
				Node: name, For: peer, Name: topology.RecoverySlotName("app", name, peer), Kind: topology.SlotRecovery,
				Confirmed: 0x900, RetainedBytes: 4096, WALStatus: "reserved",
			})
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

func TestAssess(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil   func(s *api.Status)
		state   api.State
		reasons []string
	}{
		"nothing wrong": {func(*api.Status) {}, api.Healthy, []string{}},
		"never observed": {
			func(s *api.Status) { s.At = time.Time{} },
			api.Unknown,
			[]string{"the mesh has not been observed yet"},
		},
		"back, and not compared yet": {
			func(s *api.Status) { s.Nodes[1].Uncompared = []string{"n1"} },
			api.Degraded,
			[]string{"n2: was away while gaps of n1 were carried, and is still to be compared"},
		},
		"let in with its gap open, and not compared yet": {
			func(s *api.Status) { s.Nodes[1].Uncompared = []string{"n1", "n2"} },
			api.Degraded,
			[]string{"n2: was away while gaps of n1 were carried, and was let in although its gap had not been carried, and is still to be compared"},
		},
		"node failed and healed": {
			func(s *api.Status) {
				s.Nodes[2] = api.Node{Name: "n3", Life: api.LifeFailed, Reason: "connection refused"}
			},
			api.Degraded,
			[]string{"n3: is failed: connection refused"},
		},
		"gap of a failed node": {
			func(s *api.Status) {
				s.Nodes[2] = api.Node{Name: "n3", Life: api.LifeFailed}
				s.Progress = []api.Progress{{Origin: "n3", Node: "n2", LSN: 0x10, Missing: 99}}
			},
			api.Degraded,
			[]string{"n3: is failed", "n2: lacks 99 bytes of n3"},
		},
		"lag of a live node is replication at work": {
			func(s *api.Status) { s.Progress[0].Missing = 99 },
			api.Healthy,
			[]string{},
		},
		"all nodes away": {
			func(s *api.Status) {
				for i := range s.Nodes {
					s.Nodes[i] = api.Node{Name: s.Nodes[i].Name, Life: api.LifeUp, Problem: "timeout"}
				}
			},
			api.Critical,
			[]string{
				"no node is alive and reachable",
				"n1: cannot be read: timeout", "n2: cannot be read: timeout", "n3: cannot be read: timeout",
			},
		},
		"agent away": {
			func(s *api.Status) { s.Nodes[1].AgentAlive = false },
			api.Degraded,
			[]string{"n2: its agent is not a live member"},
		},
		"not ready, fenced, disabled": {
			func(s *api.Status) {
				s.Nodes[0].Ready = false
				s.Nodes[0].Findings = []topology.Finding{
					{Code: "wal_level", Detail: "is replica", Blocking: true},
					{Code: "minor", Detail: "not shown"},
				}
				s.Nodes[0].Subscriptions[0].Enabled, s.Nodes[0].Subscriptions[0].Fenced = false, true
				s.Nodes[0].Subscriptions[1].Enabled = false
			},
			api.Degraded,
			[]string{
				"n1: not ready (wal_level): is replica",
				"n1: fenced off from n2",
				"n1: subscription n1_from_n3 is disabled, and not by healer",
			},
		},
		"refusal that waits": {
			func(s *api.Status) {
				s.Refusals = []api.Refusal{{Subject: "n3", Reason: "no_quorum", Why: "one of three sees it", Wait: true}}
			},
			api.Degraded,
			[]string{"n3: refused (no_quorum): one of three sees it"},
		},
		"refusal for an operator comes first": {
			func(s *api.Status) {
				s.Paused = true
				s.Refusals = []api.Refusal{{Subject: "n3", Reason: "identity_changed", Why: "another server"}}
			},
			api.Critical,
			[]string{"n3: refused (identity_changed): another server", "healing is paused by an operator"},
		},
		"failed recovery": {
			func(s *api.Status) {
				s.Nodes[2] = api.Node{Name: "n3", Life: api.LifeFailed}
				s.Last = &api.Recovery{ID: "r1", Kind: "recovery", Node: "n3", State: api.RecoveryFailed, Error: "rows differ"}
			},
			api.Critical,
			[]string{"n3: recovery r1 failed: rows differ", "n3: is failed"},
		},
		"failed recovery of a node that is back behind a fence": {
			func(s *api.Status) {
				s.Nodes[0].Subscriptions[1].Fenced = true
				s.Last = &api.Recovery{ID: "r1", Kind: "recovery", Node: "n3", State: api.RecoveryFailed, Error: "rows differ"}
			},
			api.Critical,
			[]string{"n3: recovery r1 failed: rows differ", "n1: fenced off from n3"},
		},
		"failed recovery of a node that is part of the mesh again": {
			func(s *api.Status) {
				s.Last = &api.Recovery{ID: "r1", Kind: "recovery", Node: "n3", State: api.RecoveryFailed, Error: "n2 was lost"}
			},
			api.Healthy,
			[]string{},
		},
		"a failed recovery that is tried again": {
			func(s *api.Status) {
				s.Last = &api.Recovery{ID: "r1", Kind: "recovery", Node: "n3", State: api.RecoveryFailed, Error: "rows differ"}
				s.Current = &api.Recovery{ID: "r1", Kind: "recovery", Node: "n3", State: api.RecoveryRunning}
			},
			api.Degraded,
			[]string{"n3: recovery r1 is running"},
		},
		"verified recovery": {
			func(s *api.Status) { s.Last = &api.Recovery{ID: "r1", State: api.RecoveryVerified} },
			api.Healthy,
			[]string{},
		},
		"slots": {
			func(s *api.Status) {
				s.Slots = []api.Slot{
					{Node: "n1", For: "n2", Name: "a", WALStatus: "extended", AtRisk: true, RetainedBytes: 7},
					{Node: "n1", For: "n3", Name: "b", WALStatus: "unreserved"},
					{Node: "n2", For: "n3", Name: "c", WALStatus: "lost"},
					{Node: "n2", For: "n3", Name: "d", Kind: topology.SlotMesh, WALStatus: "lost"},
				}
			},
			api.Critical,
			[]string{
				"n1: slot b is about to lose its WAL",
				"n2: slot c has lost its WAL: n3 cannot be healed from here",
				"n2: slot d has lost its WAL: n3 gets nothing more of n2, until healer node rebuild n3",
				"n1: slot a holds back 7 bytes of WAL",
			},
		},
		"NATS away":   {func(s *api.Status) { s.NATS = api.NATS{} }, api.Degraded, []string{"events: NATS is not connected"}},
		"stream away": {func(s *api.Status) { s.NATS.StreamReady = false }, api.Degraded, []string{"events: the stream has no leader"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := healthy()
			tc.spoil(&s)
			state, reasons := api.Assess(s)
			if state != tc.state {
				t.Errorf("state %s: want %s", state, tc.state)
			}
			if d := cmp.Diff(tc.reasons, reasons); d != "" {
				t.Errorf("reasons (-want +got):\n%s", d)
			}
		})
	}
}

// What the detector found beside the lives, and what operators have said.
func TestAssessDetection(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := api.Status{
		At: at, NATS: api.NATS{Connected: true, StreamReady: true},
		Control: []control.Entry{{Kind: control.Maintenance, Subject: "n1", Until: at, By: "ops", Reason: "disk"}},
		Nodes: []api.Node{
			{Name: "n1", Life: api.LifeUp, Reachable: true, Unwatched: true, Conditions: []api.Condition{{Code: "agent_gone", Severity: events.Warning, Text: "a"}}},
			{Name: "n2", Life: api.LifeUp, Reachable: true, AgentAlive: true, Conditions: []api.Condition{
				{Code: "partitioned", Severity: events.Warning, Text: "some do not reach it"}, {Code: "maintenance", Severity: events.Info},
			}},
		},
		Witnesses: []api.Witness{{Name: "w1"}, {Name: "w2", AgentAlive: true}},
	}
	state, reasons := api.Assess(s)
	want := []string{
		"n1: is under maintenance until 2026-01-02T03:04:05Z by ops: disk",
		"n1: is unwatched: its agent is gone, and nobody keeps its recovery slots moving",
		"n2: some do not reach it (partitioned)",
		"w1: the witness is not a live member",
	}
	if d := cmp.Diff(want, reasons); state != api.Degraded || d != "" {
		t.Errorf("%s (-want +got):\n%s", state, d)
	}
}
