package detector

import (
	"testing"
	"time"
)

func TestConditionsAreATable(t *testing.T) {
	seen := map[Condition]bool{}
	for _, m := range Conditions() {
		if seen[m.Condition] || m.Text == "" || m.Severity == "" {
			t.Errorf("row %+v is double or incomplete", m)
		}
		seen[m.Condition] = true
	}
}

// A condition of a newer agent counts as what that agent says it is; one of the
// table counts as what this agent holds, whatever the peer says.
func TestKindOfPeersEvidence(t *testing.T) {
	for _, c := range []struct {
		e    Evidence
		want Kind
	}{
		{Evidence{Condition: "from_the_future", Kind: Refuting}, Refuting},
		{Evidence{Condition: "from_the_future", Kind: Positive}, Positive},
		{Evidence{Condition: "from_the_future", Kind: "new_kind"}, Neutral},
		{Evidence{Condition: Answered, Kind: Positive}, Refuting},
	} {
		if got := newTable().kind(c.e); got != c.want {
			t.Errorf("%+v is %q: want %q", c.e, got, c.want)
		}
	}
}

// Silence lasts only while it is watched: a pause of this process is no silence
// of the node.
func TestPauseDoesNotRipenSilence(t *testing.T) {
	now := time.Unix(1000, 0)
	j := NewJudge("n1", []string{"n1", "n2", "n3"}, Rules{}, nil, now)
	report := func() time.Duration {
		j.Report("n2", Finding{Condition: HostSilent}, now)
		return j.Own(now)[0].Lasted
	}
	report()
	now = now.Add(time.Second / 2)
	if got := report(); got != time.Second/2 {
		t.Errorf("after half a second of probes silence has lasted %s", got)
	}
	now = now.Add(time.Hour)
	if got := report(); got != 0 {
		t.Errorf("after an hour's pause silence has lasted %s: want 0", got)
	}
}

// Evidence that a third agent hands on is as old as it is.
func TestHandedOnEvidenceIsNotFresh(t *testing.T) {
	now := time.Unix(1000, 0)
	members := []string{"n1", "n2", "n3"}
	a, b := NewJudge("n1", members, Rules{}, nil, now), NewJudge("n2", members, Rules{}, nil, now)
	a.Merge(Evidence{Observer: "n3", Subject: "n1", Seq: 1, Condition: Answered, Identity: life(1)}, now)
	now = now.Add(time.Second)
	for _, e := range a.State(now) {
		b.Merge(e, now)
	}
	now = now.Add(time.Second)
	if v := evaluated(b, "n1", now); len(v.Evidence) != 0 {
		t.Errorf("evidence of two seconds ago counts as fresh: %+v", v.Evidence)
	}
}

func evaluated(j *Judge, node string, now time.Time) Verdict {
	j.Evaluate(now)
	for _, v := range j.Verdicts() {
		if v.Node == node {
			return v
		}
	}
	return Verdict{}
}

// An agent whose clock went back over its restart still outdoes its earlier
// self, once it hears what that one said.
func TestRestartWithAnEarlierClock(t *testing.T) {
	members := []string{"n1", "n2", "n3"}
	now := time.Unix(1000, 0)
	peer := NewJudge("n2", members, Rules{}, nil, now)
	old := NewJudge("n1", members, Rules{}, nil, now)
	old.Report("n3", Finding{Condition: Answered, Identity: life(1)}, now)
	hand(old, peer, now)

	reborn := NewJudge("n1", members, Rules{}, nil, now.Add(-time.Hour))
	hand(peer, reborn, now)
	reborn.Report("n3", Finding{Condition: Refused}, now)
	hand(reborn, peer, now)
	v := evaluated(peer, "n3", now)
	if len(v.Evidence) != 1 || v.Evidence[0].Condition != Refused {
		t.Errorf("the peer holds to the old: %+v", v.Evidence)
	}
}

func hand(from, to *Judge, now time.Time) {
	for _, e := range from.State(now) {
		to.Merge(e, now)
	}
}

// What was remembered names the incarnation of a node that is already dead.
func TestPriorNamesTheIncarnation(t *testing.T) {
	now := time.Unix(1000, 0)
	j := NewJudge("n1", []string{"n1"}, Rules{}, map[string]Prior{"n1": {Identity: life(36), Episode: 2}}, now)
	j.Report("n1", Finding{Condition: Refused}, now)
	v := evaluated(j, "n1", now)
	if v.Life != LifeFailed || v.Incarnation != "10.2" || v.Identity != life(36) {
		t.Errorf("verdict %+v", v)
	}
}

// All agents are restarted while a node is down, or back and not taken back yet: it waits
// to be admitted as before, and its next loss is another one, also if its server goes on
// in the same life.
func TestFailureOutlivesTheAgents(t *testing.T) {
	now := time.Unix(1000, 0)
	restarted := func(v Verdict) *Judge {
		return NewJudge("n1", []string{"n1"}, Rules{}, map[string]Prior{"n1": v.Prior()}, now)
	}
	finds := func(j *Judge, c Condition) Verdict {
		now = now.Add(100 * time.Millisecond)
		j.Report("n1", Finding{Condition: c, Identity: life(36)}, now)
		return evaluated(j, "n1", now)
	}
	expect := func(v Verdict, want Life, incarnation string) {
		t.Helper()
		if v.Life != want || v.Incarnation != incarnation {
			t.Errorf("%s of %s, want %s of %s", v.Life, v.Incarnation, want, incarnation)
		}
	}
	j := NewJudge("n1", []string{"n1"}, Rules{}, nil, now)
	expect(finds(j, Answered), LifeUp, "10.0")
	lost := finds(j, Refused)
	expect(lost, LifeFailed, "10.0")

	j = restarted(lost)
	anew := evaluated(j, "n1", now)
	expect(anew, LifeUnknown, "10.0") // nobody has looked yet
	expect(finds(restarted(anew), Refused), LifeFailed, "10.0")
	back := finds(j, Answered)
	expect(back, LifeReturning, "10.0")

	j = restarted(back)
	expect(finds(j, Answered), LifeReturning, "10.0")
	if !j.Admit("n1") {
		t.Error("it is not taken back")
	}
	up := finds(j, Answered)
	expect(up, LifeUp, "10.1")
	expect(finds(restarted(up), Refused), LifeFailed, "10.1")
}

// Who was away when a node was taken back hears of it, whatever it remembers.
func TestFailureThatIsOverIsForgotten(t *testing.T) {
	now := time.Unix(1000, 0)
	j := NewJudge("n1", []string{"n1", "n2", "n3"}, Rules{}, map[string]Prior{"n3": {Identity: life(36), Episode: 2, Failed: true}}, now)
	now = now.Add(time.Second)
	j.Merge(Evidence{Observer: "n2", Subject: "n3", Seq: 1, Condition: Answered, Identity: life(36), Episode: 3}, now)
	if v := evaluated(j, "n3", now); v.Life != LifeUp || v.Incarnation != "10.3" || v.Prior().Failed {
		t.Errorf("verdict %+v", v)
	}
}

func TestStrangersAreNotHeard(t *testing.T) {
	now := time.Unix(1000, 0)
	j := NewJudge("n1", []string{"n1", "n2"}, Rules{}, nil, now)
	for _, e := range []Evidence{
		{Observer: "n9", Subject: "n2", Seq: 1, Condition: Answered},
		{Observer: "n2", Subject: "n9", Seq: 1, Condition: Answered},
		{Observer: "n1", Subject: "n2", Seq: 1, Condition: Answered},
	} {
		if j.Merge(e, now) {
			t.Errorf("taken: %+v", e)
		}
	}
	j.Heard("n9", now)
	j.Report("n9", Finding{Condition: Answered}, now)
	if j.Admit("n9") || len(j.State(now)) != 0 || len(j.Verdicts()) != 2 {
		t.Errorf("a stranger left a trace: %+v", j.State(now))
	}
}

// An agent that hears of a failure from another before it has made up its own mind
// asks those whose answers keep it from that, all the same.
func TestDoubtsOutliveTheNewsOfAFailure(t *testing.T) {
	now := time.Unix(1000, 0)
	j := NewJudge("n1", []string{"n1", "n2", "n3"}, Rules{}, nil, now)
	agents := []string{"n1", "n2", "n3"}
	j.Agents(agents)
	for i, o := range agents[1:] {
		j.Merge(Evidence{Observer: o, Subject: "n3", Seq: uint64(i + 1), Condition: Answered, Identity: life(1)}, now) //nolint:gosec // small
	}
	j.Report("n3", Finding{Condition: Answered, Identity: life(1)}, now)
	if v := evaluated(j, "n3", now); v.Life != LifeUp {
		t.Fatalf("n3 is %s: %s", v.Life, v.Reason)
	}

	now = now.Add(100 * time.Millisecond)
	lost := life(1)
	j.Report("n3", Finding{Condition: PostmasterGone}, now)
	j.Merge(Evidence{Observer: "n2", Subject: "n3", Seq: 10, Condition: PostmasterGone, Failed: &lost}, now)
	if v := evaluated(j, "n3", now); v.Life != LifeSuspected {
		t.Fatalf("n3 is %s: %s", v.Life, v.Reason)
	}
	doubts := j.Doubts()
	if len(doubts) != 1 || doubts[0].Member != "n3" {
		t.Fatalf("doubts %+v: want n3's own answer", doubts)
	}

	// An answer that comes a moment later may have been on its way all the same.
	now = now.Add(20 * time.Millisecond)
	j.Merge(Evidence{Observer: "n3", Subject: "n3", Seq: 11, Condition: Answered, Identity: life(1)}, now)
	evaluated(j, "n3", now)
	if doubts = j.Doubts(); len(doubts) != 1 || !doubts[0].At.Equal(now) {
		t.Errorf("doubts %+v: want n3's answer, which may be from before", doubts)
	}
	now = now.Add(time.Millisecond)
	j.AgentGone("n3", now)
	if v := evaluated(j, "n3", now); v.Life != LifeFailed {
		t.Errorf("n3 is %s although its agent is gone: %s", v.Life, v.Reason)
	}
}

// What an agent announces when it is stopped: its leave, unless its server has gone
// first in another way than in order. A witness has no server to speak of.
func TestFarewell(t *testing.T) {
	for _, tc := range []struct {
		self   string
		saw    Condition
		leaves bool
	}{
		{"n1", "", true},
		{"n1", Answered, true},
		{"n1", StartingUp, true},
		{"n1", Unclassified, true},
		{"n1", Refused, false},
		{"n1", EOF, false},
		{"n1", Hung, false},
		{"w1", "", false},
	} {
		now := time.Unix(1000, 0)
		j := NewJudge(tc.self, []string{"n1", "n2"}, Rules{Witnesses: []string{"w1"}}, nil, now)
		if tc.saw != "" {
			j.Report("n1", Finding{Condition: tc.saw}, now)
		}
		if said := j.Farewell(now); len(said) > 0 != tc.leaves {
			t.Errorf("%s, whose server it saw %q last, announces %+v", tc.self, tc.saw, said)
		}
	}
}
