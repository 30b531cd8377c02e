package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/events"
	"healer/events/eventstest"
)

// shares counts the tries at each event.
type shares struct {
	mu    sync.Mutex
	tries map[string][]string
}

// by is a handler that succeeds when ok says so.
func (s *shares) by(who string, ok func(ctx context.Context, try int) error) func(context.Context, events.Event, int) error {
	return func(ctx context.Context, e events.Event, try int) error {
		s.mu.Lock()
		if s.tries == nil {
			s.tries = map[string][]string{}
		}
		s.tries[e.ID] = append(s.tries[e.ID], fmt.Sprintf("%s %d", who, try))
		s.mu.Unlock()
		return ok(ctx, try)
	}
}

// of are the tries at an event.
func (s *shares) of(e events.Event) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.tries[e.ID]...)
}

func (s *shares) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tries)
}

func share(t *testing.T, b *Bus, o Sharing, handle func(context.Context, events.Event, int) error) func() {
	t.Helper()
	stop, err := b.Share(t.Context(), o, handle)
	check(t, err)
	t.Cleanup(stop)
	return stop
}

func fine(context.Context, int) error { return nil }

// TestShareDivides: of three clients one gets each event, nobody the others' kinds,
// and what happened while nobody was there waits.
func TestShareDivides(t *testing.T) {
	m := trio(t)
	cluster := unique("share")
	var buses []*Bus
	for i := range m.servers {
		buses = append(buses, ready(t, connect(t, busOptions(t, m, i, cluster))))
	}
	// What is on its way to one that stops comes again within twice the limit.
	o := Sharing{Name: "pager", Kinds: "recovery.*", Limit: 5 * time.Second, Tries: 3, Parallel: 2}
	var s shares
	var stops []func()
	for i, b := range buses {
		stops = append(stops, share(t, b, o, s.by(fmt.Sprint(i), fine)))
	}
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, 60)
	other := eventstest.Make(t, cluster, events.NodeFailed, "")
	publish(t, buses[0], other)
	publish(t, buses[0], all[:30]...)
	publish(t, buses[1], all[:40]...) // some of them twice
	until(t, "all are handled", func() bool { return s.len() == 40 })
	for _, stop := range stops {
		stop()
	}
	publish(t, buses[2], all[40:]...)
	drained(t, buses[2])
	share(t, buses[1], o, s.by("1", fine))
	until(t, "the others are handled", func() bool { return s.len() == len(all) })
	for _, e := range all {
		if got := s.of(e); len(got) != 1 {
			t.Errorf("event %s was tried by %v", e.Data, got)
		}
	}
	if got := s.of(other); len(got) != 0 {
		t.Errorf("an event of another kind was tried by %v", got)
	}
}

// TestShareTriesAgain: what fails is tried again, as often as it was asked for.
func TestShareTriesAgain(t *testing.T) {
	m := single(t)
	b := ready(t, connect(t, busOptions(t, m, 0, "again")))
	var s shares
	share(t, b, Sharing{Name: "second", Kinds: "node.failed", Limit: patience, Tries: 3, Parallel: 1},
		s.by("a", func(_ context.Context, try int) error {
			if try < 2 {
				return errors.New("not yet")
			}
			return nil
		}))
	share(t, b, Sharing{Name: "never", Kinds: "node.returned", Limit: patience, Tries: 2, Parallel: 1},
		s.by("b", func(context.Context, int) error { return errors.New("never") }))
	failed, returned := eventstest.Make(t, "again", events.NodeFailed, ""), eventstest.Make(t, "again", events.NodeReturned, "")
	publish(t, b, failed, returned)
	until(t, "both are settled", func() bool {
		info, err := b.js.Consumer(t.Context(), events.Stream("again"), "never")
		return err == nil && info.CachedInfo().NumAckPending == 0 && len(s.of(returned)) == 2 && len(s.of(failed)) == 2
	})
	if d := cmp.Diff([]string{"a 1", "a 2"}, s.of(failed)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"b 1", "b 2"}, s.of(returned)); d != "" {
		t.Error(d)
	}
}

// TestShareOfOneThatEnds: what a client has begun and not finished, another does:
// at once when the first one stops in order, after a while when it hangs.
func TestShareOfOneThatEnds(t *testing.T) {
	m := single(t)
	first, second := ready(t, connect(t, busOptions(t, m, 0, "ends"))), connect(t, busOptions(t, m, 0, "ends"))
	o := Sharing{Name: "hook", Kinds: "node.failed", Limit: 200 * time.Millisecond, Tries: 5, Parallel: 1}
	var s shares
	release := make(chan struct{})
	stop := share(t, first, o, s.by("hangs", func(context.Context, int) error { <-release; return errors.New("late") }))
	e := eventstest.Make(t, "ends", events.NodeFailed, "hangs")
	publish(t, first, e)
	until(t, "it has begun", func() bool { return len(s.of(e)) == 1 })
	share(t, second, o, s.by("good", fine))
	until(t, "the other has done it", func() bool { return len(s.of(e)) == 2 })
	close(release)
	stop()

	long := o
	long.Name, long.Kinds, long.Limit = "slow", "node.returned", patience
	stop = share(t, first, long, s.by("stops", func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }))
	e = eventstest.Make(t, "ends", events.NodeReturned, "stops")
	publish(t, first, e)
	until(t, "it has begun", func() bool { return len(s.of(e)) == 1 })
	stop()
	share(t, second, long, s.by("good", fine))
	until(t, "the other has done it", func() bool { return len(s.of(e)) == 2 })
	if d := cmp.Diff([]string{"stops 1", "good 2"}, s.of(e)); d != "" {
		t.Error(d)
	}
}

func TestShareIsChecked(t *testing.T) {
	m := single(t)
	b := connect(t, busOptions(t, m, 0, "checked"))
	good := Sharing{Name: "a", Kinds: ">", Limit: time.Second, Tries: 1, Parallel: 1}
	for name, spoil := range map[string]func(*Sharing){
		"no name": func(o *Sharing) { o.Name = "" }, "a name with a dot": func(o *Sharing) { o.Name = "a.b" },
		"no such kind": func(o *Sharing) { o.Kinds = "coffee.*" }, "no limit": func(o *Sharing) { o.Limit = 0 },
		"no tries": func(o *Sharing) { o.Tries = 0 }, "no room": func(o *Sharing) { o.Parallel = 0 },
	} {
		o := good
		spoil(&o)
		if _, err := b.Share(t.Context(), o, nil); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

func TestPauseGrows(t *testing.T) {
	for try, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 20: time.Minute} {
		if d := pause(try); d < want*8/10 || d > want*12/10 {
			t.Errorf("after try %d it rests %s: want about %s", try, d, want)
		}
	}
}
