package natsbus

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/events/eventstest"
)

// leader returns the index of the server that leads the cluster's stream.
func leader(t *testing.T, m *mesh, cluster string) int {
	t.Helper()
	nc, err := nats.Connect("nats://" + m.opts[0].Client)
	check(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	check(t, err)
	found := -1
	until(t, "stream has a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), apiTimeout)
		defer cancel()
		st, err := js.Stream(ctx, events.Stream(cluster))
		if err != nil || st.CachedInfo().Cluster == nil {
			return false
		}
		lead := st.CachedInfo().Cluster.Leader
		found = slices.IndexFunc(m.opts, func(o ServerOptions) bool { return o.Node == lead })
		return found >= 0
	})
	return found
}

func TestStreamLeaderDiesWhilePublishing(t *testing.T) {
	m := trio(t)
	cluster := unique("leader-dies")
	buses := make([]*Bus, 3)
	for i := range buses {
		buses[i] = ready(t, connect(t, busOptions(t, m, i, cluster)))
	}
	lead := leader(t, m, cluster)
	b, listener := buses[(lead+1)%3], buses[(lead+2)%3]
	var live, stored eventstest.Inbox
	for in, f := range map[*eventstest.Inbox]events.Filter{&live: {}, &stored: {InOrder: true}} {
		stop, err := listener.Subscribe(t.Context(), f, in.Put)
		check(t, err)
		defer stop()
	}
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, 60)
	publish(t, b, all[:20]...)
	stored.Await(t, 1)
	stopped := make(chan error, 1)
	go func() { stopped <- m.stop(lead) }()
	publish(t, b, all[20:40]...) // while the leader goes down
	check(t, <-stopped)
	publish(t, b, all[40:]...) // while there is none

	got := live.Await(t, len(all))
	slices.SortFunc(got, byDetail)
	if d := cmp.Diff(all, got); d != "" {
		t.Errorf("live (-want +got):\n%s", d)
	}
	if d := cmp.Diff(ids(all), ids(stored.Await(t, len(all)))); d != "" {
		t.Errorf("stored (-want +got):\n%s", d)
	}
	drained(t, b)
	if d := cmp.Diff(ids(all), streamIDs(t, m, cluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
	check(t, m.startAll())
}

func byDetail(a, b events.Event) int { return slices.Compare(a.Data, b.Data) }

func TestAllOfNATSGoneAndBack(t *testing.T) {
	m := single(t)
	const cluster = "gone"
	b := ready(t, connect(t, busOptions(t, m, 0, cluster)))
	var live, stored eventstest.Inbox
	for in, f := range map[*eventstest.Inbox]events.Filter{&live: {}, &stored: {InOrder: true, From: events.FromStart()}} {
		stop, err := b.Subscribe(t.Context(), f, in.Put)
		check(t, err)
		defer stop()
	}
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, 90)
	for i := 0; i < len(all); i += 30 {
		publish(t, b, all[i:i+10]...) // some of these are on their way
		check(t, m.stop(0))
		publish(t, b, all[i+10:i+30]...)
		check(t, m.start(0))
	}
	drained(t, b)
	if d := cmp.Diff(ids(all), streamIDs(t, m, cluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
	if d := cmp.Diff(ids(all), ids(stored.Await(t, len(all)))); d != "" {
		t.Errorf("stored (-want +got):\n%s", d)
	}
	got := live.Await(t, len(all))
	slices.SortFunc(got, byDetail)
	if d := cmp.Diff(all, got); d != "" {
		t.Errorf("live (-want +got):\n%s", d)
	}
}

func TestBeforeJetStreamHasALeader(t *testing.T) {
	m, err := newMesh(t.TempDir(), 3)
	check(t, err)
	t.Cleanup(func() { check(t, m.stopAll()) })
	check(t, m.start(0)) // one of three: NATS without a JetStream leader
	const cluster = "early"
	b := connect(t, busOptions(t, m, 0, cluster))
	var live, stored eventstest.Inbox
	for in, f := range map[*eventstest.Inbox]events.Filter{
		&live: {From: events.FromStart()}, &stored: {From: events.FromStart(), InOrder: true},
	} {
		stop, err := b.Subscribe(t.Context(), f, in.Put)
		check(t, err)
		defer stop()
	}
	all := eventstest.MakeN(t, cluster, events.NodeFailed, 20)
	publish(t, b, all...)
	if d := cmp.Diff(all, live.Await(t, len(all))); d != "" {
		t.Errorf("live without JetStream (-want +got):\n%s", d)
	}
	if s := b.Status(); s.StreamReady || s.Pending != len(all) || s.Problem == "" {
		t.Errorf("status without JetStream: %+v", s)
	}

	check(t, m.start(1)) // two of three: a leader, but not enough for three replicas
	drained(t, b)
	if s := b.Status(); s.Replicas != 2 {
		t.Errorf("status with two servers: %+v", s)
	}
	check(t, m.start(2))
	until(t, "third replica", func() bool { return b.Status().Replicas == 3 })

	if d := cmp.Diff(ids(all), streamIDs(t, m, cluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
	if d := cmp.Diff(all, stored.Await(t, len(all))); d != "" {
		t.Errorf("stored (-want +got):\n%s", d)
	}
	last := eventstest.Make(t, cluster, events.NodeReturned, "")
	publish(t, b, last)
	if d := cmp.Diff(append(all, last), live.Await(t, len(all)+1)); d != "" {
		t.Errorf("live over all (-want +got):\n%s", d)
	}
}
