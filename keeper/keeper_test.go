package keeper

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/topology"
)

// fakeStore is a node n2 with peers n1 and n3, whose calls take as long, or
// fail, as the test says.
type fakeStore struct {
	mu        sync.Mutex
	sample    Sample
	peers     map[string]lsns
	slots     map[string]topology.Slot
	down      error
	peerDelay map[string]time.Duration
	create    func(ctx context.Context, peer string) error
	calls     map[string]int
	busy      bool // the node writes all the time
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		sample:    Sample{Flushed: 1000, Progress: lsns{"n1": 10, "n3": 10}},
		peers:     map[string]lsns{"n1": {"n3": 10}, "n3": {"n1": 10}},
		slots:     map[string]topology.Slot{},
		peerDelay: map[string]time.Duration{}, calls: map[string]int{},
	}
}

func (f *fakeStore) lock(call string) func() {
	f.mu.Lock()
	f.calls[call]++
	return f.mu.Unlock
}

func (f *fakeStore) Sample(context.Context) (Sample, error) {
	defer f.lock("sample")()
	if f.busy {
		f.sample.Flushed++
	}
	s := f.sample
	s.Progress = maps.Clone(s.Progress)
	return s, f.down
}

func (f *fakeStore) PeerProgress(ctx context.Context, peer string) (PeerView, error) {
	f.mu.Lock()
	delay := f.peerDelay[peer]
	f.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return PeerView{}, ctx.Err()
	}
	defer f.lock("peer " + peer)()
	return PeerView{Name: peer, Reachable: true, Progress: maps.Clone(f.peers[peer])}, nil
}

func (f *fakeStore) Slots(context.Context) ([]topology.Slot, error) {
	defer f.lock("slots")()
	return slices.Collect(maps.Values(f.slots)), f.down
}

func (f *fakeStore) CreateSeed(ctx context.Context, peer string) error {
	if f.create != nil {
		if err := f.create(ctx, peer); err != nil {
			return err
		}
	}
	defer f.lock("create " + peer)()
	f.slots["seed_"+peer] = topology.Slot{Name: "seed_" + peer, Kind: topology.SlotSeed, To: peer, Confirmed: f.sample.Flushed}
	return nil
}

func (f *fakeStore) Promote(_ context.Context, peer string) error {
	defer f.lock("promote " + peer)()
	s := f.slots["seed_"+peer]
	delete(f.slots, "seed_"+peer)
	s.Name, s.Kind = "kept_"+peer, topology.SlotRecovery
	f.slots[s.Name] = s
	return nil
}

func (f *fakeStore) Advance(_ context.Context, slot string, to topology.LSN) error {
	defer f.lock("advance " + slot)()
	s := f.slots[slot]
	s.Confirmed = to
	f.slots[slot] = s
	return nil
}

func (f *fakeStore) StandbySnapshot(context.Context) error {
	defer f.lock("snapshot")()
	return nil
}

func (f *fakeStore) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeStore) confirmed(slot string) topology.LSN {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slots[slot].Confirmed
}

func (f *fakeStore) called(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

// run starts a keeper of n2 on the store inside a bubble of fake time.
func run(t *testing.T, f *fakeStore, limits Limits, body func(k *Keeper, seen func() []Event, log *strings.Builder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []Event
		log := &strings.Builder{}
		k, err := New(Options{
			Node: "n2", Peers: []string{"n3", "n1"}, Store: f, Limits: limits,
			OnEvent: func(e Event) { mu.Lock(); got = append(got, e); mu.Unlock() },
			Log:     slog.New(slog.NewTextHandler(&lockedWriter{w: log, mu: &mu}, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		k.Start(t.Context())
		body(k, func() []Event { mu.Lock(); defer mu.Unlock(); return slices.Clone(got) }, log)
		k.Stop()
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *strings.Builder
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestKeeperMakesAndMovesSlots(t *testing.T) {
	f := newFakeStore()
	run(t, f, Limits{SnapshotBytes: 500}, func(k *Keeper, seen func() []Event, _ *strings.Builder) {
		time.Sleep(3 * time.Second)
		synctest.Wait()
		kinds := map[string]EventKind{}
		for _, e := range seen() {
			kinds[e.Slot.Name] = e.Kind
		}
		if diff := cmp.Diff(map[string]EventKind{"kept_n1": Created, "kept_n3": Created}, kinds); diff != "" {
			t.Fatal(diff)
		}
		if n := f.called("snapshot"); n != 1 {
			t.Errorf("%d standby snapshots of an idle server, want 1", n)
		}

		// n1 goes on here and not on n3: n3's slot stays, n1's moves.
		f.set(func() { f.sample.Flushed, f.sample.Progress["n1"] = 2000, 20 })
		time.Sleep(time.Second)
		synctest.Wait()
		if a, b := f.confirmed("kept_n1"), f.confirmed("kept_n3"); a != 2000 || b != 1000 {
			t.Fatalf("slots are at %d and %d, want 2000 and 1000", a, b)
		}
		st := k.Status()
		if why := st.Peers[1].Why; why != "n3 has n1 only up to 0/A of 0/14" || !st.Peers[1].Covering() {
			t.Errorf("status of n3 is %+v", st.Peers[1])
		}
		if at, ok := k.Newest("n1", 10); !ok || at != 1000 {
			t.Errorf("a clone for a laggard at 10 may skip to %d, %v; want 1000", at, ok)
		}

		f.set(func() { f.peers["n3"]["n1"] = 20 })
		time.Sleep(time.Second)
		synctest.Wait()
		if b := f.confirmed("kept_n3"); b != 2000 {
			t.Errorf("the slot for n3 is at %d, want 2000", b)
		}
	})
}

// A node that writes nothing is looked at seldom, and at once when it writes.
func TestIdleNodeIsLeftAlone(t *testing.T) {
	f := newFakeStore()
	run(t, f, Limits{}, func(*Keeper, func() []Event, *strings.Builder) {
		time.Sleep(5 * time.Second)
		synctest.Wait()
		before := f.called("peer n3")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := f.called("peer n3") - before; got < 10 || got > 20 {
			t.Errorf("n3 was read %d times in 30 idle seconds: want one in %d ticks", got, restTicks+1)
		}
		f.set(func() { f.sample.Flushed = 3000 })
		before = f.called("peer n3")
		time.Sleep(time.Second)
		synctest.Wait()
		if f.called("peer n3") == before {
			t.Error("n3 was not read although the node wrote")
		}
	})
}

func TestSlowPeerAndSlowSlotDelayNobody(t *testing.T) {
	f := newFakeStore()
	f.busy = true
	f.peerDelay["n1"] = time.Hour
	started := 0
	f.create = func(ctx context.Context, peer string) error {
		if peer == "n3" {
			return nil
		}
		f.set(func() { started++ })
		<-ctx.Done()
		return ctx.Err()
	}
	run(t, f, Limits{Create: 10 * time.Second}, func(k *Keeper, _ func() []Event, log *strings.Builder) {
		time.Sleep(4 * time.Second)
		if f.called("promote n3") != 1 {
			t.Error("n3's slot waits for n1")
		}
		f.set(func() { f.peerDelay["n1"] = 0 })
		before := f.called("peer n3")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := f.called("peer n3") - before; got < 100 {
			t.Errorf("n3 was read %d times in 30 s while n1's slot was being made", got)
		}
		f.set(func() {
			if started < 2 {
				t.Errorf("making n1's slot was tried %d times", started)
			}
		})
		if n := strings.Count(log.String(), "deadline exceeded"); n > 2 {
			t.Errorf("%d lines of log for two states:\n%s", n, log)
		}
		if st := k.Status(); st.Peers[0].Phase != Create {
			t.Errorf("status is %+v", st.Peers[0])
		}
	})
}

func TestFailingServer(t *testing.T) {
	f := newFakeStore()
	f.down = errors.New("connection refused")
	run(t, f, Limits{}, func(k *Keeper, seen func() []Event, log *strings.Builder) {
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := f.called("sample"); n < 10 || n > 25 {
			t.Errorf("%d samples in a minute: want backoff up to 5 s", n)
		}
		if n := strings.Count(log.String(), "\n"); n != 3 {
			t.Errorf("%d lines, want one of the node and one of each peer:\n%s", n, log)
		}
		if k.Status().Problem == "" {
			t.Error("status shows no problem")
		}
		f.set(func() { f.down = nil })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if k.Status().Problem != "" || len(seen()) != 2 {
			t.Errorf("it did not recover: %+v, %v", k.Status(), seen())
		}
	})
}

func TestAtRiskIsReportedOnce(t *testing.T) {
	f := newFakeStore()
	f.busy = true
	run(t, f, Limits{WarnBytes: 100}, func(_ *Keeper, seen func() []Event, _ *strings.Builder) {
		risks := func() (n int) {
			time.Sleep(time.Second)
			synctest.Wait()
			for _, e := range seen() {
				if e.Kind == AtRisk {
					n++
				}
			}
			return n
		}
		retain := func(bytes int64, status string) {
			f.set(func() {
				s := f.slots["kept_n3"]
				s.RetainedBytes, s.WALStatus = bytes, status
				f.slots["kept_n3"] = s
			})
		}
		time.Sleep(3 * time.Second)
		for i, c := range []struct {
			bytes  int64
			status string
			want   int
		}{{99, "", 0}, {100, "", 1}, {60, "", 1}, {120, "", 1}, {40, "", 1}, {100, "", 2}, {100, "unreserved", 3}, {0, "reserved", 3}} {
			retain(c.bytes, c.status)
			if got := risks(); got != c.want {
				t.Errorf("step %d: %d reports, want %d", i, got, c.want)
			}
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{{}, {Node: "a"}, {Node: "a", Store: newFakeStore(), Peers: []string{"a"}}} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) must fail", o)
		}
	}
}
