package natsbus

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/events/eventstest"
	"healer/topology"
)

// admin is a plain JetStream client beside server 0.
func admin(t *testing.T, m *mesh) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect("nats://" + m.opts[0].Client)
	check(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	check(t, err)
	return nc, js
}

func TestStreamIsMadeAsPromised(t *testing.T) {
	m := single(t)
	ready(t, connect(t, busOptions(t, m, 0, "made")))
	_, js := admin(t, m)
	st, err := js.Stream(t.Context(), "HEALER_MADE")
	check(t, err)
	c := st.CachedInfo().Config
	got := []any{c.Subjects[0], c.Storage, c.Replicas, c.MaxAge, c.Duplicates, c.AllowDirect, c.MaxBytes, c.Discard}
	want := []any{"healer.v1.made.>", jetstream.FileStorage, 1, 30 * 24 * time.Hour, DuplicateWindow, true, int64(256 << 20), jetstream.DiscardOld}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
}

func TestStreamThatExistsKeepsItsLimits(t *testing.T) {
	m := single(t)
	_, js := admin(t, m)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "HEALER_TUNED", Subjects: []string{"healer.v1.tuned.>"}, MaxAge: 90 * 24 * time.Hour, MaxBytes: 1 << 20,
	})
	check(t, err)
	o := busOptions(t, m, 0, "tuned")
	o.Replicas = 3 // a server alone cannot
	b := ready(t, connect(t, o))
	publish(t, b, eventstest.Make(t, "tuned", events.NodeFailed, ""))
	drained(t, b)
	st, err := js.Stream(t.Context(), "HEALER_TUNED")
	check(t, err)
	if c := st.CachedInfo().Config; c.MaxAge != 90*24*time.Hour || c.MaxBytes != 1<<20 || c.Replicas != 1 {
		t.Errorf("stream: %+v", c)
	}
}

// app-1 and app_1 would have one stream: the second is told, not mixed in.
func TestStreamOfAnotherCluster(t *testing.T) {
	m := single(t)
	ready(t, connect(t, busOptions(t, m, 0, "app-1")))
	b := connect(t, busOptions(t, m, 0, "app_1"))
	until(t, "problem is reported", func() bool { return strings.Contains(b.Status().Problem, "healer.v1.app-1.>") })
	publish(t, b, eventstest.Make(t, "app_1", events.NodeFailed, ""))
	if s := b.Status(); s.StreamReady || s.Pending != 1 {
		t.Errorf("status: %+v", s)
	}
}

// A stream that somebody deletes is made anew, and readers go on with it.
func TestStreamIsDeleted(t *testing.T) {
	m := single(t)
	const cluster = "deleted"
	b := ready(t, connect(t, busOptions(t, m, 0, cluster)))
	var stored eventstest.Inbox
	stop, err := b.Subscribe(t.Context(), events.Filter{InOrder: true, From: events.FromStart()}, stored.Put)
	check(t, err)
	defer stop()
	all := eventstest.MakeN(t, cluster, events.SlotCreated, 6)
	publish(t, b, all[:4]...)
	stored.Await(t, 4)
	drained(t, b)
	_, js := admin(t, m)
	check(t, js.DeleteStream(t.Context(), events.Stream(cluster)))
	publish(t, b, all[4:]...)
	drained(t, b)
	if d := cmp.Diff(ids(all[4:]), streamIDs(t, m, cluster)); d != "" {
		t.Errorf("new stream (-want +got):\n%s", d)
	}
	if d := cmp.Diff(all, stored.Await(t, 6)); d != "" {
		t.Errorf("stored (-want +got):\n%s", d)
	}
}

// What the stream's window no longer catches, the subscription does; and what
// is no event it passes over.
func TestSubscriptionDropsWhatTheStreamHasTwice(t *testing.T) {
	m := single(t)
	const cluster = "twice"
	b := ready(t, connect(t, busOptions(t, m, 0, cluster)))
	_, js := admin(t, m)
	all := eventstest.MakeN(t, cluster, events.SlotCreated, 3)
	for _, i := range []int{0, 1, 0, 1, 2} {
		raw, err := all[i].Encode()
		check(t, err)
		_, err = js.Publish(t.Context(), events.Subject(cluster, events.SlotCreated), raw) // without an id
		check(t, err)
		_, err = js.Publish(t.Context(), events.SubjectPrefix(cluster)+"slot.created", []byte("noise"))
		check(t, err)
	}
	for _, inOrder := range []bool{false, true} {
		var in eventstest.Inbox
		stop, err := b.Subscribe(t.Context(), events.Filter{From: events.FromStart(), InOrder: inOrder}, in.Put)
		check(t, err)
		if d := cmp.Diff(all, in.Await(t, 3)); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
		stop()
		if got := in.Events(); len(got) != 3 {
			t.Errorf("%d events came", len(got))
		}
	}
}

// Without JetStream at all the events still reach who listens.
func TestNATSWithoutJetStream(t *testing.T) {
	url := plainNATS(t)
	const cluster = "plain"
	o := Options{DialOptions: DialOptions{Cluster: cluster, URLs: []string{url}, Log: testLog()}, Agent: "n1", Replicas: 3, Dir: t.TempDir()}
	b := connect(t, o)
	until(t, "connected", b.Connected)
	var in eventstest.Inbox
	stop, err := b.Subscribe(t.Context(), events.Filter{}, in.Put)
	check(t, err)
	defer stop()
	all := eventstest.MakeN(t, cluster, events.NodeFailed, 10)
	publish(t, b, all...)
	if d := cmp.Diff(all, in.Await(t, 10)); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	until(t, "problem is reported", func() bool { return strings.Contains(b.Status().Problem, "JetStream") })
	if s := b.Status(); s.Pending != 10 || s.StreamReady {
		t.Errorf("status: %+v", s)
	}
}

func TestCloseDeliversWhatIsPending(t *testing.T) {
	m := single(t)
	const cluster = "closed"
	o := busOptions(t, m, 0, cluster)
	b := connect(t, o)
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, 20)
	publish(t, b, all...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	check(t, b.Close(ctx))
	if d := cmp.Diff(ids(all), streamIDs(t, m, cluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
	if err := b.Publish(all[0]); topology.ClassOf(err) != topology.Permanent || err == nil {
		t.Errorf("publish on a closed bus: %v", err)
	}
	if _, err := b.Subscribe(t.Context(), events.Filter{}, func(events.Event) {}); err == nil {
		t.Error("subscribed on a closed bus")
	}
	check(t, b.Close(ctx))
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	good := Options{DialOptions: DialOptions{Cluster: "c", URLs: []string{"nats://127.0.0.1:1"}}, Agent: "n1", Replicas: 1}
	for name, spoil := range map[string]func(*Options){
		"no directory":        func(o *Options) { o.Dir = "" },
		"no replicas":         func(o *Options) { o.Replicas = 0 },
		"a directory in vain": func(o *Options) { o.Dir = "/dev/null/x" },
		"a cluster with dots": func(o *Options) { o.Cluster = "a.b" },
		"a broken URL":        func(o *Options) { o.URLs = []string{"nats://[::1"} },
		"a missing file":      func(o *Options) { o.Access.CAFile = "/nonexistent/ca.pem" },
	} {
		o := good
		o.Dir = t.TempDir()
		spoil(&o)
		b, err := Connect(t.Context(), o)
		if err == nil {
			t.Errorf("%s: connected", name)
			closeNow(t, b)
		}
	}
}
