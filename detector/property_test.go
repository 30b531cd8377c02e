package detector

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// members draws a configuration.
func members(t *rapid.T) []string {
	n := rapid.IntRange(1, 5).Draw(t, "members")
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("n%d", i+1)
	}
	return out
}

// evidence draws one piece as a peer may send it. What the peer concluded is
// left out: it never makes a failure.
func evidence(t *rapid.T, names []string, seq uint64) Evidence {
	var codes []Condition
	for _, m := range Conditions() {
		codes = append(codes, m.Condition)
	}
	e := Evidence{
		Observer:  rapid.SampledFrom(names).Draw(t, "observer"),
		Subject:   rapid.SampledFrom(names).Draw(t, "subject"),
		Seq:       seq,
		Condition: rapid.SampledFrom(codes).Draw(t, "condition"),
		Lasted:    time.Duration(rapid.IntRange(0, 5000).Draw(t, "lasted")) * time.Millisecond,
		Age:       time.Duration(rapid.IntRange(0, 2000).Draw(t, "age")) * time.Millisecond,
	}
	if e.Condition == Refused || e.Condition == PostmasterGone {
		e.Held = time.Duration(rapid.IntRange(0, 1000).Draw(t, "held")) * time.Millisecond
	}
	e.Identity = life(rapid.Int64Range(1, 3).Draw(t, "start"))
	e.IdentityAge = time.Duration(rapid.IntRange(0, 3).Draw(t, "identity age")) * time.Second
	return e
}

// ledger is a second, plain account of what the Judge was told.
type ledger struct {
	rules Rules
	last  map[[2]string]record
	// gone is when each member's agent was last shown to be gone.
	gone map[string]time.Time
	// spoke is when the agent last had anything to do, listens until when it
	// knows that it slept, and suspended until when an operator wants no verdict.
	spoke, listens time.Time
	suspended      map[string]Suspension
}

func (l *ledger) awake(now time.Time) {
	if now.Sub(l.spoke) > l.rules.PauseAfter {
		l.listens = now.Add(l.rules.EvidenceTTL)
	}
	l.spoke = now
}

func (l *ledger) take(e Evidence, now time.Time) {
	key := [2]string{e.Observer, e.Subject}
	at := now.Add(-e.Age)
	switch old, ok := l.last[key]; {
	case !ok || old.Seq < e.Seq:
		l.last[key] = record{e, at}
	case old.Seq == e.Seq && at.Before(old.at):
		old.at = at
		l.last[key] = old
	}
}

// mayFail is the rule in its shortest form; names are all who vote.
func (l *ledger) mayFail(self string, names []string, subject string, now time.Time) error {
	kinds := map[Condition]Kind{}
	for _, m := range Conditions() {
		kinds[m.Condition] = m.Kind
	}
	accusers, positive := 0, 0
	var begun []time.Time
	var answers []record
	contacts := map[string]bool{self: true}
	for key, r := range l.last {
		if now.Sub(r.at) > l.rules.EvidenceTTL || r.Condition == Leaving {
			continue
		}
		contacts[key[0]] = true
		if key[1] != subject {
			continue
		}
		switch k := kinds[r.Condition]; {
		case k == Refuting:
			answers = append(answers, r)
		case k == Positive:
			positive++
			accusers++
			begun = append(begun, r.at.Add(-r.Held))
		case k == Silent && r.Lasted >= l.rules.SilentAfter:
			accusers++
			begun = append(begun, r.at.Add(-r.Lasted))
		}
	}
	if now.Before(l.listens) {
		return fmt.Errorf("the agent was paused")
	}
	if s, ok := l.suspended[subject]; ok && now.Before(s.Until) {
		return fmt.Errorf("it is under maintenance")
	}
	need := len(names)/2 + 1
	if half := (len(names) + 1) / 2; l.rules.Quorum == QuorumHalf && positive >= half {
		need = half
	}
	if accusers < need {
		return fmt.Errorf("%d of %d members accuse it, %d must", accusers, len(names), need)
	}
	slices.SortFunc(begun, time.Time.Compare)
	since := begun[need-1]
	for _, r := range answers {
		// An answer from before enough members began to accuse the node says
		// nothing once there was time to repeat it, or once its observer is
		// gone. One that came after they had begun stands while it is fresh, or,
		// if it cannot have been on its way then, for as long as it takes to repeat
		// it when its observer is gone.
		repeats := !l.gone[r.Observer].After(r.at)
		early := now.Sub(since) < l.rules.RefuteWithin
		if repeats && (early || r.at.After(since)) || r.at.After(since.Add(underway)) && now.Sub(r.at) < l.rules.RefuteWithin {
			return fmt.Errorf("somebody has a live answer")
		}
	}
	if len(contacts) < need {
		return fmt.Errorf("the agent hears %d of %d members, %d must be heard", len(contacts), len(names), need)
	}
	return nil
}

// No node fails without a majority, against a live answer, or by the minority.
func TestFailedOnlyByTheRule(t *testing.T) {
	failures := 0
	rapid.Check(t, func(t *rapid.T) {
		nodes := members(t)
		rules := Rules{Quorum: rapid.SampledFrom([]Quorum{QuorumMajority, QuorumHalf}).Draw(t, "quorum")}
		if rapid.Bool().Draw(t, "witness") {
			rules.Witnesses = []string{"w1"}
		}
		names := slices.Concat(nodes, rules.Witnesses)
		self := rapid.SampledFrom(names).Draw(t, "self")
		now := time.Unix(1000, 0)
		j := NewJudge(self, nodes, rules, nil, now)
		l := &ledger{rules: rules.withDefaults(), last: map[[2]string]record{}, gone: map[string]time.Time{}, spoke: now}
		before := map[string]Life{}
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			l.awake(now)
			if rapid.IntRange(0, 9).Draw(t, "operator") == 0 {
				l.suspended = map[string]Suspension{rapid.SampledFrom(nodes).Draw(t, "suspended"): {
					Until: now.Add(time.Duration(rapid.IntRange(-1, 3).Draw(t, "until")) * time.Second),
				}}
				j.Suspend(l.suspended)
			}
			for range rapid.IntRange(0, 5).Draw(t, "messages") {
				e := evidence(t, names, uint64(rapid.IntRange(0, i+1).Draw(t, "seq"))) //nolint:gosec // small
				if !slices.Contains(nodes, e.Subject) {
					if j.Merge(e, now) {
						t.Fatal("evidence about a witness was taken")
					}
					continue
				}
				if e.Observer == self {
					e.Age = 0
					j.Report(e.Subject, Finding{
						Condition: e.Condition, Identity: e.Identity, Asked: rapid.Bool().Draw(t, "asked"),
						Silent: time.Duration(rapid.IntRange(0, 2000).Draw(t, "silent")) * time.Millisecond,
					}, now)
					own := j.nodes[e.Subject].records[self].Evidence
					l.take(own, now)
					continue
				}
				j.Merge(e, now)
				l.take(e, now)
			}
			if rapid.IntRange(0, 4).Draw(t, "agent gone") == 0 {
				m := rapid.SampledFrom(names).Draw(t, "whose")
				at := now.Add(-time.Duration(rapid.IntRange(0, 50).Draw(t, "asked before")) * time.Millisecond)
				j.AgentGone(m, at)
				if at.After(l.gone[m]) {
					l.gone[m] = at
				}
			}
			j.Evaluate(now)
			for _, v := range j.Verdicts() {
				if v.Life == LifeFailed && before[v.Node] != LifeFailed {
					failures++
					if err := l.mayFail(self, names, v.Node, now); err != nil {
						t.Fatalf("%s was judged failed although %v: %s", v.Node, err, v.Reason)
					}
				}
				before[v.Node] = v.Life
			}
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 100, 200, 300, 600, 601, 2000}).Draw(t, "pause")) * time.Millisecond)
		}
	})
	if failures == 0 {
		t.Error("no run judged a node failed: the property was not tried")
	}
}

// The order and the repetition of evidence change nothing.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := members(t)
		var all []Evidence
		for i := range rapid.IntRange(0, 20).Draw(t, "pieces") {
			e := evidence(t, names, uint64(i/2)) //nolint:gosec // small
			e.Episode = uint64(i / 8)            //nolint:gosec // small
			if rapid.Bool().Draw(t, "concluded") {
				id := e.Identity
				e.Failed = &id
			}
			// Pieces of one number are copies of one piece.
			for _, o := range all {
				if o.Observer == e.Observer && o.Subject == e.Subject && o.Seq == e.Seq {
					age := e.Age
					e = o
					e.Age = age
				}
			}
			all = append(all, e)
		}
		shuffled := rapid.Permutation(append(append([]Evidence{}, all...), all...)).Draw(t, "order")
		judge := func(es []Evidence) []Verdict {
			now := time.Unix(1000, 0)
			j := NewJudge("n1", names, Rules{PauseAfter: time.Hour}, nil, now)
			now = now.Add(time.Minute)
			for _, e := range es {
				j.Merge(e, now)
			}
			j.Evaluate(now)
			return j.Verdicts()
		}
		if d := cmp.Diff(judge(all), judge(shuffled)); d != "" {
			t.Fatalf("the order mattered (-in order +shuffled):\n%s", d)
		}
	})
}

// Agents that exchange everything agree, whatever each of them saw.
func TestAgentsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"n1", "n2", "n3"}
		now := time.Unix(1000, 0)
		judges := map[string]*Judge{}
		for _, n := range names {
			judges[n] = NewJudge(n, names, Rules{PauseAfter: time.Hour, FlapAfter: 1000}, nil, now)
		}
		codes := []Condition{Answered, Refused, HostSilent, StartingUp, AuthRefused}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(100 * time.Millisecond)
			for _, n := range names {
				for _, subject := range names {
					if rapid.Bool().Draw(t, "probed") {
						judges[n].Report(subject, Finding{
							Condition: rapid.SampledFrom(codes).Draw(t, "condition"),
							Identity:  life(rapid.Int64Range(1, 2).Draw(t, "start")),
						}, now)
					}
				}
				if rapid.IntRange(0, 9).Draw(t, "admits") == 0 {
					judges[n].Admit(rapid.SampledFrom(names).Draw(t, "admitted"))
				}
			}
			// Some of it arrives.
			for _, from := range names {
				for _, to := range names {
					if rapid.Bool().Draw(t, "arrives") {
						for _, e := range judges[from].State(now) {
							judges[to].Merge(e, now)
						}
					}
				}
				judges[from].Evaluate(now)
			}
		}
		settle(judges, names, now)
		want := lives(judges["n1"])
		for _, n := range names {
			if d := cmp.Diff(want, lives(judges[n])); d != "" {
				t.Fatalf("n1 and %s disagree (-n1 +%s):\n%s", n, n, d)
			}
		}
	})
}

// settle lets everybody probe the same and hear everything a few times over.
func settle(judges map[string]*Judge, names []string, now time.Time) {
	for range 5 {
		now = now.Add(2 * time.Second)
		for _, n := range names {
			for _, s := range names {
				c := Answered
				if s == "n3" {
					c = Refused
				}
				judges[n].Report(s, Finding{Condition: c, Identity: life(1)}, now)
			}
		}
		for range 2 {
			for _, from := range names {
				for _, to := range names {
					for _, e := range judges[from].State(now) {
						judges[to].Merge(e, now)
					}
				}
			}
			for _, n := range names {
				judges[n].Evaluate(now)
			}
		}
	}
}

// lives are the conclusions that agents must share.
func lives(j *Judge) map[string]string {
	out := map[string]string{}
	for _, v := range j.Verdicts() {
		out[v.Node] = string(v.Life) + " " + v.Incarnation
	}
	return out
}
