package native

import (
	"testing"

	"healer/topology"
)

func TestWorkerStates(t *testing.T) {
	leader := func(wait string) worker { return worker{Leader: true, Wait: wait} }
	helper, sync := worker{Wait: "LogicalParallelApplyMain"}, worker{Sync: true, Wait: "LogicalSyncData"}
	for name, tc := range map[string]struct {
		workers []worker
		state   topology.WorkerState
		stopped bool
	}{
		"none":                     {nil, topology.WorkerNone, true},
		"between messages":         {[]worker{leader("LogicalApplyMain")}, topology.WorkerIdle, false},
		"connecting on 16":         {[]worker{leader("LibPQWalReceiverConnect")}, topology.WorkerIdle, true},
		"connecting from 17 on":    {[]worker{leader("LibpqwalreceiverConnect")}, topology.WorkerIdle, true},
		"on the processor":         {[]worker{leader("")}, topology.WorkerBusy, false},
		"waits for a lock":         {[]worker{leader("transactionid")}, topology.WorkerBusy, false},
		"with an idle helper":      {[]worker{leader("LogicalApplyMain"), helper}, topology.WorkerIdle, false},
		"waits for its helper":     {[]worker{helper, leader("LogicalParallelApplyStateChange")}, topology.WorkerBusy, false},
		"copies a table":           {[]worker{leader("LogicalApplyMain"), sync}, topology.WorkerBusy, false},
		"only its helper is there": {[]worker{helper}, topology.WorkerNone, false},
	} {
		s := subscription{Workers: tc.workers}
		if s.state() != tc.state || s.stopped() != tc.stopped {
			t.Errorf("%s: %v, stopped %v", name, s.state(), s.stopped())
		}
	}
}

func TestTablesNotCopiedAreReported(t *testing.T) {
	c := catalog{Subscriptions: []subscription{{Name: "s", Owned: true, Forwards: "none", Unready: 2}}}
	n := topology.NodeState{Subscriptions: []topology.Subscription{{Name: "s", Provider: "n2"}}}
	got := subscriptionFindings(c, n)
	if len(got) != 1 || got[0].Code != "table_copy" || got[0].Blocking {
		t.Errorf("%+v", got)
	}
}
