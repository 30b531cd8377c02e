package gossip

import (
	"slices"
	"testing"
	"time"
)

// During a pause and shortly after it nobody is missed who lived before.
func TestPulse(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	p := &pulse{grace: time.Second}
	lives := []string{"n1", "n2", "n3"}
	present := func() []string { return slices.Clone(lives) }
	if got := p.missedNot(at(0)); got != nil {
		t.Errorf("before the first beat: %v", got)
	}
	for ms := 0; ms <= 1000; ms += 100 {
		p.beat(at(ms), present)
	}
	if got := p.missedNot(at(1100)); got != nil {
		t.Errorf("all is well, and yet it holds to %v", got)
	}
	// A pause of ten seconds; memberlist wakes first and has lost everybody.
	lives = []string{"n1"}
	want := []string{"n1", "n2", "n3"}
	if got := p.missedNot(at(11_000)); !slices.Equal(got, want) {
		t.Errorf("before the beat after the pause: %v", got)
	}
	for ms := 11_000; ms < 12_000; ms += 100 {
		p.beat(at(ms), present)
		if got := p.missedNot(at(ms + 50)); !slices.Equal(got, want) {
			t.Errorf("%d ms after the pause: %v", ms-11_000, got)
		}
	}
	// Who has not come back by then is missed.
	p.beat(at(12_000), present)
	if got := p.missedNot(at(12_050)); got != nil {
		t.Errorf("after the grace: %v", got)
	}
}
