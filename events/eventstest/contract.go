package eventstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/events"
)

// patience bounds every wait of the suite; it is no expectation of speed.
const patience = 60 * time.Second

// Bus is what the suite is about.
type Bus interface {
	events.Publisher
	events.Subscriber
}

// Inbox is the handler of a subscription in a test: it keeps every event that
// it is called with, repetitions included.
type Inbox struct {
	mu     sync.Mutex
	got    []events.Event
	change chan struct{}
}

// Put is the handler.
func (in *Inbox) Put(e events.Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.got = append(in.got, e)
	if in.change != nil {
		close(in.change)
		in.change = nil
	}
}

// Events returns what came, in the order in which it came.
func (in *Inbox) Events() []events.Event {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

// Await returns the first n events, waiting for them.
func (in *Inbox) Await(tb testing.TB, n int) []events.Event {
	tb.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		in.mu.Lock()
		if len(in.got) >= n {
			defer in.mu.Unlock()
			return slices.Clone(in.got[:n])
		}
		if in.change == nil {
			in.change = make(chan struct{})
		}
		changed, have := in.change, len(in.got)
		in.mu.Unlock()
		select {
		case <-changed:
		case <-limit.C:
			tb.Fatalf("waited for %d events, %d came", n, have)
		}
	}
}

// Contract runs the suite. Each case gets a bus of its own from open, for a
// cluster whose name no other case has.
func Contract(t *testing.T, open func(t *testing.T, cluster string) Bus) {
	for i, c := range []struct {
		name string
		run  func(t *testing.T, cluster string, b Bus)
	}{
		{"an event arrives as it was published", arrives},
		{"an id that is published twice arrives once", once},
		{"events of one publisher keep their order", ordered},
		{"concurrent publishers lose and double nothing", concurrent},
		{"a pattern selects kinds", selects},
		{"history is delivered before what follows it", history},
		{"history begins at a time", sinceTime},
		{"every subscriber gets every event", fanOut},
		{"nothing is delivered after stop", stops},
		{"the end of the context ends a subscription", ends},
		{"a sequence yields and ends", sequence},
		{"what is no event is refused", refuses},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := fmt.Sprintf("c%d-%d", i, time.Now().UnixNano()%1e9)
			c.run(t, cluster, open(t, cluster))
		})
	}
}

// subscribe subscribes until the test ends.
func subscribe(t *testing.T, b Bus, f events.Filter) *Inbox {
	t.Helper()
	in := &Inbox{}
	stop, err := b.Subscribe(t.Context(), f, in.Put)
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	t.Cleanup(stop)
	return in
}

func publish(t *testing.T, b Bus, all ...events.Event) {
	t.Helper()
	for _, e := range all {
		if err := b.Publish(e); err != nil {
			t.Fatalf("publish %s: %v", e.Kind(), err)
		}
	}
}

func same(t *testing.T, want, got []events.Event) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("events (-want +got):\n%s", d)
	}
}

func arrives(t *testing.T, cluster string, b Bus) {
	live, stored := subscribe(t, b, events.Filter{}), subscribe(t, b, events.Filter{InOrder: true})
	e := Make(t, cluster, events.NodeFailed, "")
	publish(t, b, e)
	same(t, []events.Event{e}, live.Await(t, 1))
	same(t, []events.Event{e}, stored.Await(t, 1))
}

func once(t *testing.T, cluster string, b Bus) {
	live, stored := subscribe(t, b, events.Filter{}), subscribe(t, b, events.Filter{InOrder: true})
	e, last := Make(t, cluster, events.NodeFailed, "a"), Make(t, cluster, events.NodeReturned, "b")
	publish(t, b, e, e)
	stored.Await(t, 1) // also when the first has long been delivered
	publish(t, b, e, last)
	same(t, []events.Event{e, last}, stored.Await(t, 2))
	same(t, []events.Event{e, last}, live.Await(t, 2))
}

func ordered(t *testing.T, cluster string, b Bus) {
	live, stored := subscribe(t, b, events.Filter{}), subscribe(t, b, events.Filter{InOrder: true})
	all := MakeN(t, cluster, events.RecoveryStep, 60)
	publish(t, b, all...)
	same(t, all, stored.Await(t, len(all)))
	same(t, all, live.Await(t, len(all)))
}

func concurrent(t *testing.T, cluster string, b Bus) {
	live, stored := subscribe(t, b, events.Filter{}), subscribe(t, b, events.Filter{InOrder: true})
	all := MakeN(t, cluster, events.SlotCreated, 40)
	errs := make(chan error, 4)
	for range 4 { // all of them publish all of it
		go func() {
			var err error
			for _, e := range all {
				err = errors.Join(err, b.Publish(e))
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	last := Make(t, cluster, events.ControlPaused, "last")
	publish(t, b, last)
	for name, in := range map[string]*Inbox{"live": live, "stored": stored} {
		got := in.Await(t, len(all)+1)
		if got[len(all)].ID != last.ID {
			t.Errorf("%s: the last event is %s", name, got[len(all)].Kind())
		}
		slices.SortFunc(got[:len(all)], func(a, b events.Event) int {
			return strings.Compare(string(a.Data), string(b.Data))
		})
		same(t, all, got[:len(all)])
	}
}

func selects(t *testing.T, cluster string, b Bus) {
	failed, verified := Make(t, cluster, events.NodeFailed, ""), Make(t, cluster, events.RecoveryVerified, "")
	rfailed, last := Make(t, cluster, events.RecoveryFailed, ""), Make(t, cluster, events.SlotAtRisk, "")
	want := map[string][]events.Event{
		"":                {failed, verified, rfailed, last},
		">":               {failed, verified, rfailed, last},
		"recovery.*":      {verified, rfailed},
		"*.failed":        {failed, rfailed},
		"slot.>":          {last},
		"recovery.failed": {rfailed},
	}
	inboxes := map[string][2]*Inbox{}
	for p := range want {
		inboxes[p] = [2]*Inbox{subscribe(t, b, events.Filter{Kinds: p}), subscribe(t, b, events.Filter{Kinds: p, InOrder: true})}
	}
	publish(t, b, failed, verified, rfailed, last)
	for p, in := range inboxes {
		for _, in := range in {
			if d := cmp.Diff(want[p], in.Await(t, len(want[p]))); d != "" {
				t.Errorf("pattern %q (-want +got):\n%s", p, d)
			}
		}
	}
	for _, p := range []string{"recovery", "node.>.x", "a..b", "node.fai led", "coffee.*", "*.*.*"} {
		if _, err := b.Subscribe(t.Context(), events.Filter{Kinds: p}, func(events.Event) {}); err == nil {
			t.Errorf("pattern %q was taken", p)
		}
	}
}

func history(t *testing.T, cluster string, b Bus) {
	all := MakeN(t, cluster, events.RecoveryStep, 30)
	stored := subscribe(t, b, events.Filter{InOrder: true})
	publish(t, b, all[:20]...)
	stored.Await(t, 20)
	// A handler that is still at the first event when the last ones come.
	full, gate := &Inbox{}, make(chan struct{})
	stop, err := b.Subscribe(t.Context(), events.Filter{From: events.FromStart()}, func(e events.Event) {
		<-gate
		full.Put(e)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	open := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open) // before stop, which waits for the handler
	fullInOrder := subscribe(t, b, events.Filter{From: events.FromStart(), InOrder: true})
	fresh := subscribe(t, b, events.Filter{From: events.FromNow()})
	publish(t, b, all[20:]...)
	fresh.Await(t, 10)
	open()
	same(t, all, full.Await(t, 30))
	same(t, all, fullInOrder.Await(t, 30))
	same(t, all[20:], fresh.Await(t, 10))
}

func sinceTime(t *testing.T, cluster string, b Bus) {
	all := MakeN(t, cluster, events.RecoveryStep, 20)
	stored := subscribe(t, b, events.Filter{InOrder: true})
	publish(t, b, all[:10]...)
	stored.Await(t, 10)
	at := time.Now()
	publish(t, b, all[10:]...)
	stored.Await(t, 20)
	for _, inOrder := range []bool{false, true} {
		in := subscribe(t, b, events.Filter{From: events.FromTime(at), InOrder: inOrder})
		same(t, all[10:], in.Await(t, 10))
	}
}

func fanOut(t *testing.T, cluster string, b Bus) {
	var inboxes []*Inbox
	for i := range 6 {
		inboxes = append(inboxes, subscribe(t, b, events.Filter{InOrder: i%2 == 0}))
	}
	all := MakeN(t, cluster, events.SlotCreated, 10)
	publish(t, b, all...)
	for _, in := range inboxes {
		same(t, all, in.Await(t, len(all)))
	}
}

func stops(t *testing.T, cluster string, b Bus) {
	other := subscribe(t, b, events.Filter{})
	in := &Inbox{}
	stop, err := b.Subscribe(t.Context(), events.Filter{}, in.Put)
	if err != nil {
		t.Fatal(err)
	}
	all := MakeN(t, cluster, events.SlotCreated, 2)
	publish(t, b, all[0])
	in.Await(t, 1)
	stop()
	publish(t, b, all[1])
	other.Await(t, 2)
	same(t, all[:1], in.Events())
	stop() // a second time is harmless
}

func ends(t *testing.T, cluster string, b Bus) {
	other := subscribe(t, b, events.Filter{})
	ctx, cancel := context.WithCancel(t.Context())
	in := &Inbox{}
	stop, err := b.Subscribe(ctx, events.Filter{}, in.Put)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	stop()
	publish(t, b, Make(t, cluster, events.SlotCreated, ""))
	other.Await(t, 1)
	if got := in.Events(); len(got) != 0 {
		t.Errorf("%d events came after the context had ended", len(got))
	}
}

func sequence(t *testing.T, cluster string, b Bus) {
	all := MakeN(t, cluster, events.SlotCreated, 5)
	publish(t, b, all...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []events.Event
	for e, err := range events.Seq(ctx, b, events.Filter{From: events.FromStart(), InOrder: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e); len(got) == len(all) {
			break
		}
	}
	same(t, all, got)

	past, cancelPast := context.WithDeadline(t.Context(), time.Now())
	defer cancelPast()
	var last error
	for _, err := range events.Seq(past, b, events.Filter{}) {
		last = err
	}
	if !errors.Is(last, context.DeadlineExceeded) {
		t.Errorf("a sequence past its deadline ended with %v", last)
	}
	for _, err := range events.Seq(ctx, b, events.Filter{Kinds: "no.such"}) {
		last = err
	}
	if last == nil || errors.Is(last, context.DeadlineExceeded) {
		t.Errorf("a sequence of no kind ended with %v", last)
	}
}

func refuses(t *testing.T, cluster string, b Bus) {
	good := Make(t, cluster, events.NodeFailed, "")
	big, _ := json.Marshal(strings.Repeat("x", events.MaxBytes))
	for name, spoil := range map[string]func(*events.Event){
		"no id":        func(e *events.Event) { e.ID = "" },
		"no cluster":   func(e *events.Event) { e.Cluster = "" },
		"unknown kind": func(e *events.Event) { e.Type = "healer.v1.node.dissolved" },
		"version":      func(e *events.Event) { e.SpecVersion = "0.3" },
		"too large":    func(e *events.Event) { e.Data = big },
		"broken data":  func(e *events.Event) { e.Data = json.RawMessage(`{"a":`) },
	} {
		e := good
		spoil(&e)
		if err := b.Publish(e); err == nil {
			t.Errorf("%s: the event was taken", name)
		}
	}
}
