package detector

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// However a node comes and goes: once it flaps it is not taken back before it has
// answered for the hold-down without a break, the hold-down only grows while the
// node fails, and no storm of failures comes of it.
func TestFlappingNodeIsHeldDown(t *testing.T) {
	held := 0
	rapid.Check(t, func(t *rapid.T) {
		rules := Rules{
			FlapAfter:  rapid.IntRange(1, 4).Draw(t, "flap after"),
			FlapWindow: time.Hour, HoldDown: 2 * time.Second, HoldDownMax: 9 * time.Second,
		}
		names := []string{"n1", "n2", "n3"}
		now := time.Unix(1000, 0)
		j := NewJudge("n1", names, rules, nil, now)
		var answering time.Time // since when n3 has
		failures, failedVerdicts, was := 0, 0, LifeUnknown
		var hold time.Duration
		step := func(c Condition) {
			if c == Answered && answering.IsZero() {
				answering = now
			}
			if c != Answered {
				answering = time.Time{}
			}
			j.Report("n3", Finding{Condition: c, Identity: life(1)}, now)
			j.Merge(Evidence{Observer: "n2", Subject: "n3", Seq: uint64(now.UnixMicro()), Condition: c}, now) //nolint:gosec // after 1970
			j.Merge(Evidence{Observer: "n3", Subject: "n3", Seq: uint64(now.UnixMicro()), Condition: c}, now) //nolint:gosec // after 1970
			j.Evaluate(now)
			v := j.Verdicts()[2]
			if v.Life == LifeFailed && was != LifeFailed {
				failedVerdicts++
			}
			if len(v.Failures) > failures {
				failures = len(v.Failures)
				if v.HoldDown < hold {
					t.Fatalf("the hold-down shrank from %s to %s with failure %d", hold, v.HoldDown, failures)
				}
				hold = v.HoldDown
			}
			back := was == LifeFailed && v.Life != LifeFailed
			if back && hold > 0 && (answering.IsZero() || now.Sub(answering) < hold) {
				t.Fatalf("taken back as %s after %d failures, held down %s, answering since %s", v.Life, failures, hold, now.Sub(answering))
			}
			if v.Held && j.Admit("n3") {
				t.Fatal("a held node was admitted")
			}
			if v.HoldDown > rules.HoldDownMax {
				t.Fatalf("held down for %s", v.HoldDown)
			}
			if v.Held && v.Life == LifeFailed {
				held++
			}
			was = v.Life
			if was == LifeReturning {
				j.Admit("n3")
				j.Evaluate(now)
				was = j.Verdicts()[2].Life
			}
			now = now.Add(200 * time.Millisecond)
		}
		long := 0
		for range rapid.IntRange(1, 12).Draw(t, "outages") {
			up := rapid.IntRange(1, 60).Draw(t, "up")
			if up >= 10 { // longer than the shortest hold-down
				long++
			}
			for range up {
				step(Answered)
			}
			for range rapid.IntRange(2, 5).Draw(t, "down") {
				step(Refused)
			}
		}
		if failedVerdicts > rules.FlapAfter+long {
			t.Fatalf("%d verdicts of a failure: a storm", failedVerdicts)
		}
	})
	if held == 0 {
		t.Error("no run held a node down: the property was not tried")
	}
}
