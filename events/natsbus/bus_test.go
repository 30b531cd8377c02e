package natsbus

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"healer/events"
	"healer/events/eventstest"
	"healer/topology"
)

func TestContractOnOneServer(t *testing.T) {
	m := single(t)
	eventstest.Contract(t, func(t *testing.T, cluster string) eventstest.Bus {
		o := busOptions(t, m, 0, cluster)
		o.InProcess, o.URLs = m.servers[0], nil
		return connect(t, o)
	})
}

func TestContractOnThreeServers(t *testing.T) {
	m := trio(t)
	eventstest.Contract(t, func(t *testing.T, cluster string) eventstest.Bus {
		// One agent publishes, that of another server listens.
		return struct {
			events.Publisher
			events.Subscriber
		}{ready(t, connect(t, busOptions(t, m, 0, cluster))), ready(t, connect(t, busOptions(t, m, 1, cluster)))}
	})
}

func TestThreeAgentsMakeOneEvent(t *testing.T) {
	m := trio(t)
	cluster := unique("dedupe")
	all := eventstest.MakeN(t, cluster, events.NodeFailed, 20)
	var buses []*Bus
	for i := range m.servers {
		buses = append(buses, connect(t, busOptions(t, m, i, cluster)))
	}
	var in eventstest.Inbox
	stop, err := buses[2].Subscribe(t.Context(), events.Filter{}, in.Put)
	check(t, err)
	defer stop()
	var wg sync.WaitGroup
	for i, b := range buses {
		wg.Go(func() {
			for _, e := range all {
				e.Source = "/healer/" + cluster + "/" + m.opts[i].Node
				if err := b.Publish(e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, b := range buses {
		drained(t, b)
	}
	if d := cmp.Diff(ids(all), streamIDs(t, m, cluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
	in.Await(t, len(all))
	last := eventstest.Make(t, cluster, events.ControlPaused, "")
	publish(t, buses[0], last)
	got := in.Await(t, len(all)+1)
	if got[len(all)].ID != last.ID {
		t.Errorf("the subscriber got an event twice: %v", ids(got))
	}
}

func TestFullOutboxKeepsTheOldest(t *testing.T) {
	m := single(t)
	check(t, m.stop(0))
	const cluster = "full"
	o := busOptions(t, m, 0, cluster)
	o.MaxEvents = 3
	b := connect(t, o)
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, 5)
	publish(t, b, all[:3]...)
	for _, e := range all[3:] {
		err := b.Publish(e)
		var f *topology.Fault
		if !errors.As(err, &f) || f.Code != "outbox_full" || f.Class != topology.Transient || f.Hint == "" {
			t.Fatalf("publish to a full outbox: %v", err)
		}
	}
	publish(t, b, all[0]) // what is kept is not refused
	if s := b.Status(); s.Pending != 3 || s.Refused != 2 || s.Connected || s.Problem == "" || s.OldestPending.IsZero() {
		t.Errorf("status: %+v", s)
	}
	check(t, m.start(0))
	drained(t, b)
	publish(t, b, all[3:]...)
	drained(t, b)
	if d := cmp.Diff(ids(all), streamIDs(t, m, cluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
	if s := b.Status(); !s.StreamReady || s.Problem != "" || s.Replicas != 1 || s.URL == "" {
		t.Errorf("status: %+v", s)
	}
}

// BenchmarkPublish is what a caller of Publish waits, with the stream on a
// server that fsyncs every message.
func BenchmarkPublish(b *testing.B) {
	dir := b.TempDir()
	s, err := StartServer(b.Context(), ServerOptions{Node: "n1", Cluster: "c", Client: "127.0.0.1:0", StoreDir: filepath.Join(dir, "js")})
	if err != nil {
		b.Fatal(err)
	}
	bus, err := Connect(b.Context(), Options{
		DialOptions: DialOptions{Cluster: "c", InProcess: s}, Agent: "n1", Replicas: 1,
		Dir: filepath.Join(dir, "outbox"), MaxEvents: 1 << 30, MaxBytes: 1 << 40,
	})
	if err != nil {
		b.Fatal(err)
	}
	all := eventstest.MakeN(b, "c", events.RecoveryStep, b.N)
	b.ResetTimer()
	var worst time.Duration
	for _, e := range all {
		began := time.Now()
		if err := bus.Publish(e); err != nil {
			b.Fatal(err)
		}
		worst = max(worst, time.Since(began))
	}
	b.StopTimer()
	b.ReportMetric(float64(worst.Microseconds()), "µs-worst")
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	began, pending := time.Now(), bus.Status().Pending
	if err := errors.Join(bus.Close(ctx), s.Shutdown(ctx)); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(pending)/time.Since(began).Seconds(), "acked/s")
}
