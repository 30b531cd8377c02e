package native

import (
	"testing"

	"healer/postgres/engine"
	"healer/topology"
)

func TestWorkerStates(t *testing.T) {
	leader := func(wait string) engine.Worker { return engine.Worker{Leader: true, Wait: wait} }
	helper, sync := engine.Worker{Wait: "LogicalParallelApplyMain"}, engine.Worker{Sync: true, Wait: "LogicalSyncData"}
	for name, tc := range map[string]struct {
		workers []engine.Worker
		state   topology.WorkerState
		stopped bool
	}{
		"none":                     {nil, topology.WorkerNone, true},
		"between messages":         {[]engine.Worker{leader("LogicalApplyMain")}, topology.WorkerIdle, false},
		"connecting on 16":         {[]engine.Worker{leader("LibPQWalReceiverConnect")}, topology.WorkerIdle, true},
		"connecting from 17 on":    {[]engine.Worker{leader("LibpqwalreceiverConnect")}, topology.WorkerIdle, true},
		"on the processor":         {[]engine.Worker{leader("")}, topology.WorkerBusy, false},
		"waits for a lock":         {[]engine.Worker{leader("transactionid")}, topology.WorkerBusy, false},
		"with an idle helper":      {[]engine.Worker{leader("LogicalApplyMain"), helper}, topology.WorkerIdle, false},
		"waits for its helper":     {[]engine.Worker{helper, leader("LogicalParallelApplyStateChange")}, topology.WorkerBusy, false},
		"copies a table":           {[]engine.Worker{leader("LogicalApplyMain"), sync}, topology.WorkerBusy, false},
		"only its helper is there": {[]engine.Worker{helper}, topology.WorkerNone, false},
	} {
		s := engine.Subscription{Workers: tc.workers}
		if s.State(Dialect{}) != tc.state || s.Stopped(Dialect{}) != tc.stopped {
			t.Errorf("%s: %v, stopped %v", name, s.State(Dialect{}), s.Stopped(Dialect{}))
		}
	}
}
