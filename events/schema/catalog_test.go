package schema_test

import (
	"testing"
	"time"

	"healer/events"
	"healer/executor"
	"healer/planner"
	"healer/topology"
)

// entry is what is written down of a kind of event.
type entry struct {
	kind events.Kind
	// when says when it is published, same what makes two reports one event, beside
	// the cluster and the kind.
	when, same string
	// data is an example; its type is that of the data of the kind.
	data any
}

// perLife is what makes two verdicts one event.
const perLife = "the node and its incarnation"

// catalog has every kind, in the order of the documentation.
func catalog() []entry {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	slot := topology.Slot{
		Name: "spock_app_recovery_n1_n2", Kind: topology.SlotRecovery, Plugin: "pgoutput", To: "n2",
		Confirmed: 0x1500028, Restart: 0x14ffff0, WALStatus: "reserved", RetainedBytes: 4096,
	}
	judged := func(life, condition, reason string) events.Judged {
		return events.Judged{
			Node: "n3", Life: life, Reason: reason, Condition: condition, Incarnation: "kf12oi.1", Episode: 1,
			Identity: topology.Identity{SystemID: 7412345678901234567, Timeline: 1, StartedAt: 1767322800123456}, At: at,
			Evidence: []events.Witnessed{{Observer: "n1", Kind: "positive", Condition: condition, Detail: "connection refused", LastedMS: 210, AgeMS: 4}},
		}
	}
	flapping := judged("returning", "answered", "n1, n2 had an answer; it is held down")
	flapping.Failures, flapping.HoldDownMS, flapping.Held = []time.Time{at.Add(-2 * time.Minute), at.Add(-time.Minute), at}, 5000, true
	unwatched := judged("up", "answered", "n1, n2 had an answer")
	unwatched.Unwatched, unwatched.AgentSince, unwatched.Findings = true, 1767322801000000, []string{"agent_gone"}
	said := events.Said{Kind: "pause", Subject: "n3", At: at, Until: at.Add(30 * time.Minute), By: "ada", Reason: "new disk"}
	maintenance, resumed, ack := said, said, said
	maintenance.Kind = "maintenance"
	resumed.Ended = true
	ack.Kind, ack.Subject, ack.Until = "acknowledgement", "n3/r7k2c", time.Time{}
	return []entry{
		{events.NodeSuspected, "A member accuses the node, and no answer of it came since. Nothing is done about it yet.", perLife, judged("suspected", "refused", "n1 says: connection refused (1 of 3 members, 2 needed)")},
		{events.NodeRefuted, "A suspicion is over: the node answers.", perLife, judged("up", "answered", "n1, n2 had an answer")},
		{events.NodeFailed, "The node is judged lost. Its recovery begins, unless something stands against it.", perLife, judged("failed", "refused", "n1, n2 say: connection refused (2 of 3 members, 2 needed)")},
		{events.NodeLeft, "The node's agent was stopped in order, and its server with it.", perLife, judged("left", "leaving", "its agent has said that it leaves")},
		{events.NodeReturned, "A node that was lost answers again, and is not held down. It is taken back if it is the one that was lost.", perLife, judged("returning", "answered", "n1, n2 had an answer; it failed before and waits to be admitted")},
		{
			events.NodeRejoined, "A returned node is taken back: the survivors read from it again, and both directions have drained.", "the recovery, and who reads from the node now",
			events.Rejoined{Node: "n3", Survivors: []string{"n1", "n2"}, DurationMS: 412, PhasesMS: map[string]int64{"check": 9, "drain": 350, "unfence": 31}, Run: "01kc"},
		},
		{events.NodeFlapping, "The node has failed `detection.flap_after` times within `detection.flap_window`, or once more since: it is held down for longer.", perLife + ", and the length of the hold-down", flapping},
		{events.NodeUnwatched, "The node's agent is gone beside a server that lives.", perLife + ", and the life of its agent", unwatched},
		{events.NodeWatched, "An agent is back beside an unwatched node.", perLife + ", and the life of the agent that was gone", judged("up", "answered", "n1, n2 had an answer")},
		{events.NodeMaintenance, "An operator has suspended the verdicts about a node, or has taken that back.", "the node, when it was said, and by whom", maintenance},
		{
			events.NodeDropped, "An operator has removed a lost node from the survivors, by `healer node drop`.", "the node, and the life of it that was fenced off",
			events.Dropped{Node: "n3", Survivors: []string{"n1", "n2"}, Forced: true, Lost: []events.Lost{{Node: "n2", Bytes: 8192, Transactions: 12}}},
		},
		{
			events.AgentRefused, "A second agent gossips under the name of a node whose agent lives.", "the node, and the agent that is refused",
			events.SecondAgent{Node: "n2", Holder: "10.0.0.2:7941", HolderSince: at.Add(-time.Hour), Refused: "10.0.0.9:7941", RefusedSince: at},
		},
		{
			events.RecoveryPlanned, "It was decided what to do about a lost or a returned node. It is published again when the fences are in place and the plan is no longer an estimate, and with `mode: advise` whenever the plan has changed.",
			"the recovery, and `estimate`, or what the final plan says, or the shape of the plan that waits for an approval",
			events.Planned{
				Plan: "recovery", Node: "n3", Survivors: []string{"n1", "n2"}, Shape: "q4w7", Final: true, Watermark: 0x1500600, Source: "n1",
				Lanes: []events.PlannedLane{{Target: "n2", Source: "n1", From: 0x1500100, To: 0x1500600}},
				Steps: []events.PlannedStep{{ID: "r7k2c/fence/n1", Kind: "fence", Node: "n1"}, {ID: "r7k2c/subscribe/n1/n2", Kind: "subscribe", Node: "n1", Target: "n2"}},
			},
		},
		{
			events.RecoveryRefused, "Nothing can be done about a lost or a returned node as things are.", "the recovery, the reason and the node in the way",
			events.Refused{Plan: "rejoin", Reason: "identity_changed", Blocker: "n3", Why: "another server answers under its address", Remedy: "healer node rebuild n3"},
		},
		{
			events.RecoveryStarted, "A run of a plan has done, or at least tried, its first step. Each run is told of: a recovery that is taken up again has several.", "the recovery and the run",
			events.Started{Plan: "recovery", Node: "n3", Run: "01kc"},
		},
		{
			events.RecoveryStep, "A step of a plan has ended.", "the recovery and the step, if it is done, whoever did it; else also its state and the run",
			events.Step{
				Step: "r7k2c/subscribe/n1/n2", Kind: "subscribe", Node: "n1", Target: "n2", Run: "01kc", State: "done", Attempts: 1, DurationMS: 87,
				Evidence: "600 transactions applied", Figures: map[string]int64{"transactions": 600, "missing": 600},
			},
		},
		{
			events.RecoveryVerified, "Every transaction of the lost node that any survivor had is on every survivor, and every row it touched is equal.", "the recovery, the watermark and the laggards that were healed",
			events.Verified{
				Node: "n3", Source: "n1", Watermark: 0x1500600, Survivors: []string{"n1", "n2"}, Laggards: map[string]int64{"n2": 600},
				TransactionsRecovered: 600, TransactionsApplied: 600, Unsent: topology.Unsent{UnsentBytes: new(int64(512)), UnsentAsOf: at}, RowsCompared: 1200, RowsRepaired: 2,
				Conflicts: &events.Conflicts{
					Total:  2,
					Counts: []topology.ConflictCount{{Table: "public.account", Kind: "update_newer", Action: topology.ActionKept, Count: 2}},
					First: []topology.RowConflict{{
						Kind: "update_newer", Table: "public.account", Key: map[string]string{"id": "42"}, Node: "n2",
						Remote: topology.RowWrite{Node: "n3", At: at}, Local: &topology.RowWrite{Node: "n1", At: at.Add(time.Second)},
						LSN: 0x1500500, Action: topology.ActionKept,
					}},
				},
				DurationMS: 412, PhasesMS: map[string]int64{"fence": 40, "subscribe": 87, "verify": 190}, Run: "01kc",
			},
		},
		{
			events.RecoveryFailed, "A run has ended without its result. With `retry` Healer plans again by itself.", "the recovery and the run",
			events.Failed{
				Plan: "recovery", Node: "n3", Reason: "constraint_violated", Error: "n2: unique constraint account_owner_key: (owner)=(ada) is there already",
				Hint: "change or remove one of the two rows", Step: "r7k2c/subscribe/n1/n2", Kind: "subscribe", On: "n2",
				TransactionsRecovered: 17, Unsent: topology.Unsent{UnsentBytes: new(int64(512)), UnsentAsOf: at}, DurationMS: 95, Run: "01kc",
			},
		},
		{
			events.RecoveryCancelled, "An operator has cancelled a recovery. What was carried across stays.", "the recovery and the run",
			events.Failed{Plan: "recovery", Node: "n3", Reason: "cancelled", Error: "cancelled by an operator", TransactionsRecovered: 17, DurationMS: 95, Run: "01kc"},
		},
		{events.RecoveryAcknowledged, "An operator says that what a recovery failed for is dealt with: it is tried again at once.", "the recovery, the node, when it was said, and by whom", ack},
		{events.SlotCreated, "A recovery slot is in place and covers its peer.", "the node, the slot's name and its confirmed position", events.Slot{Node: "n1", For: "n2", Slot: slot}},
		{
			events.SlotAtRisk, "A slot holds back more WAL than `slots.warn_bytes`, or its server is about to remove, or has removed, WAL that it needs.", "the node, the slot's name and its confirmed position",
			events.Slot{Node: "n1", For: "n2", Slot: slot, Why: "it holds back 1.2 GiB"},
		},
		{
			events.SlotReleased, "A slot was given up, because it held back too much WAL for a node that stays lost.", "the node, the slot's name and its confirmed position",
			events.Slot{Node: "n1", For: "n3", Slot: slot, Why: "it held back 9 GiB for n3, which has been lost for 1h", Remedy: "healer node rebuild n3"},
		},
		{events.ControlPaused, "An operator has paused recoveries: of one node, or of all.", "the node or none, when it was said, and by whom", said},
		{events.ControlResumed, "An operator has ended a pause, or it has ended by itself.", "the node or none, when the pause or its end was said, and by whom, or that it expired", resumed},
		{
			events.JournalEntry, "A line of the journal of a run. It is a record and no news: only the pattern `>` and its own name select it. Its fields may change with any release.", "the recovery, the run, and the line's number",
			executor.Entry{
				Event: executor.EntryStep, Seq: 7, At: at, Run: "01kc", Recovery: "r7k2c", Agent: "n1", Node: "n3", Incarnation: "kf12oi.1",
				Step:  &planner.Step{ID: "r7k2c/fence/n1", Kind: planner.StepFence, Node: "n1", Before: "n1 reads from n3", Then: "n1 is fenced off from n3"},
				State: "done", Attempts: 1, Duration: 12 * time.Millisecond, Evidence: "disabled and marked",
			},
		},
	}
}

// example is the event of an entry.
func (c entry) example(t *testing.T) events.Event {
	t.Helper()
	f := events.Fact{Cluster: "app", Kind: c.kind, Node: "n3", Incarnation: "kf12oi.1"}
	switch d := c.data.(type) {
	case events.Slot:
		f.Node, f.Incarnation = d.Node, ""
	case events.Said, events.SecondAgent:
		f.Incarnation = ""
	case events.Planned, events.Refused, events.Started, events.Step, events.Verified, events.Failed, events.Rejoined, executor.Entry:
		f.Recovery = "r7k2c"
	}
	e, err := events.New(f, "n1", time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC), c.data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
