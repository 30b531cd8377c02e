package control_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/control"
)

// disk is where a Store saves.
type disk struct {
	saved []control.Entry
	err   error
	saves int
}

func (d *disk) save(es []control.Entry) error {
	if d.err != nil {
		return d.err
	}
	d.saved, d.saves = es, d.saves+1
	return nil
}

func maintenance(node string, until time.Time) control.Entry {
	return control.Entry{Kind: control.Maintenance, Subject: node, Until: until, By: "ops"}
}

func TestSetHoldsUntilItEnds(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	d := &disk{}
	s := control.NewStore(nil, d.save)
	set, err := s.Set(maintenance("n1", now.Add(time.Minute)), now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]control.Entry{set}, d.saved); diff != "" {
		t.Errorf("saved (-set +saved):\n%s", diff)
	}
	if diff := cmp.Diff([]control.Entry{set}, s.Changes()); diff != "" || len(s.Changes()) != 0 {
		t.Errorf("changes, once:\n%s", diff)
	}
	for _, c := range []struct {
		node  string
		after time.Duration
		want  bool
	}{{"n1", 0, true}, {"n1", time.Minute - 1, true}, {"n1", time.Minute, false}, {"n2", 0, false}} {
		if _, got := s.Get(control.Maintenance, c.node, now.Add(c.after)); got != c.want {
			t.Errorf("%s after %s: %t", c.node, c.after, got)
		}
	}
	// A restarted agent still knows it.
	again := control.NewStore(d.saved, d.save)
	if diff := cmp.Diff(s.Entries(), again.Entries()); diff != "" || len(again.Changes()) != 0 {
		t.Errorf("after a restart:\n%s", diff)
	}
	if len(s.Active(now)) != 1 || len(s.Active(now.Add(time.Hour))) != 0 {
		t.Error("what is active does not follow the time")
	}
}

// Taking back works on an agent whose clock is far behind.
func TestEndByAnAgentWhoseClockIsBehind(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	a, b := control.NewStore(nil, (&disk{}).save), control.NewStore(nil, (&disk{}).save)
	if _, err := a.Set(maintenance("n1", now.Add(time.Hour)), now); err != nil {
		t.Fatal(err)
	}
	behind := now.Add(-time.Hour)
	if !b.Merge(a.Entries(), behind) || b.Merge(a.Entries(), behind) {
		t.Error("an entry is new once")
	}
	if _, err := b.Set(control.Entry{Kind: control.Maintenance, Subject: "n1", Ended: true}, behind); err != nil {
		t.Fatal(err)
	}
	a.Merge(b.Entries(), now)
	if e, ok := a.Get(control.Maintenance, "n1", now); ok {
		t.Errorf("still holds: %+v", e)
	}
	select {
	case <-a.Wake():
	default:
		t.Error("nobody was told")
	}
}

func TestWhatCannotBeSavedIsNotTaken(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	d := &disk{err: errors.New("disk full")}
	s := control.NewStore(nil, d.save)
	if _, err := s.Set(maintenance("n1", now.Add(time.Minute)), now); !errors.Is(err, d.err) || len(s.Entries()) != 0 {
		t.Errorf("error %v, entries %v", err, s.Entries())
	}
	s.Merge([]control.Entry{{Kind: control.Maintenance, Subject: "n1", At: now}}, now)
	if err := s.Save(now); !errors.Is(err, d.err) {
		t.Errorf("error %v", err)
	}
	d.err = nil
	if err := s.Save(now); err != nil || len(d.saved) != 1 {
		t.Errorf("the next save: %v, %v", err, d.saved)
	}
	if err := s.Save(now); err != nil || d.saves != 1 {
		t.Errorf("nothing new was saved again: %v", err)
	}
}

func TestBadEntries(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for field, e := range map[string]control.Entry{
		"kind":    {Kind: "Not A Kind"},
		"subject": {Kind: "k", Subject: strings.Repeat("x", control.MaxSubject+1)},
		"by":      {Kind: "k", By: "a\x1b"},
		"reason":  {Kind: "k", Reason: strings.Repeat("x", control.MaxReason+1)},
		"until":   {Kind: "k", Until: now},
	} {
		s := control.NewStore(nil, (&disk{}).save)
		if _, err := s.Set(e, now); err == nil || !strings.HasPrefix(err.Error(), field+" ") {
			t.Errorf("%s: error %v", field, err)
		}
		e.At = now
		if s.Merge([]control.Entry{e}, now) {
			t.Errorf("%s: taken from a peer", field)
		}
	}
}

// What has ended is forgotten after a month, and no peer brings it back.
func TestForgotten(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	d := &disk{}
	s := control.NewStore(nil, d.save)
	for _, e := range []control.Entry{
		maintenance("n1", now.Add(time.Hour)), {Kind: "other"}, {Kind: control.Maintenance, Subject: "n2", Ended: true},
	} {
		if _, err := s.Set(e, now); err != nil {
			t.Fatal(err)
		}
	}
	all := s.Entries()
	later := now.Add(60 * 24 * time.Hour)
	if err := s.Save(later); err != nil {
		t.Fatal(err)
	}
	if got := s.Entries(); len(got) != 1 || got[0].Kind != "other" || len(d.saved) != 1 {
		t.Errorf("kept %v, saved %v", got, d.saved)
	}
	if s.Merge(all, later) {
		t.Error("a peer brought back what was forgotten")
	}
}

// Agents that hear the same entries hold the same, in any order, however often.
func TestAgentsAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_000_000, 0)
		var all []control.Entry
		for range rapid.IntRange(1, 12).Draw(t, "entries") {
			at := now.Add(time.Duration(rapid.IntRange(-3, 0).Draw(t, "at")) * time.Second)
			e := control.Entry{
				Kind: control.Maintenance, Subject: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "subject"),
				At: at, By: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "by"), Ended: rapid.Bool().Draw(t, "ended"),
			}
			if rapid.Bool().Draw(t, "bounded") {
				e.Until = at.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "for")) * time.Second)
			}
			all = append(all, e)
		}
		hold := func(es []control.Entry) []control.Entry {
			s := control.NewStore(nil, (&disk{}).save)
			for _, e := range es {
				s.Merge([]control.Entry{e}, now)
			}
			return s.Entries()
		}
		shuffled := rapid.Permutation(append(append([]control.Entry{}, all...), all...)).Draw(t, "order")
		if d := cmp.Diff(hold(all), hold(shuffled)); d != "" {
			t.Fatalf("the order mattered:\n%s", d)
		}
		// What holds is the last that was said of each subject.
		for _, got := range hold(all) {
			for _, e := range all {
				if e.Subject == got.Subject && e.At.After(got.At) {
					t.Fatal(fmt.Sprintf("%+v was said after %+v", e, got))
				}
			}
		}
	})
}
