package natsbus

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"healer/events"
	"healer/events/eventstest"
)

// The order of the stream rests on this: while an event is not acknowledged,
// the ones behind it are sent so that no stream takes them.
func TestOnlyTheFirstIsOfferedToTheStream(t *testing.T) {
	url := plainNATS(t) // nothing ever acknowledges
	const cluster = "offered"
	nc, err := nats.Connect(url)
	check(t, err)
	defer nc.Close()
	raw := make(chan *nats.Msg, 1024)
	_, err = nc.ChanSubscribe(events.SubjectPrefix(cluster)+">", raw)
	check(t, err)
	check(t, nc.Flush())

	b := connect(t, Options{DialOptions: DialOptions{Cluster: cluster, URLs: []string{url}}, Agent: "n1", Replicas: 1, Dir: t.TempDir()})
	until(t, "connected", b.Connected)
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, announceBatch+10)
	publish(t, b, all...)
	offered, announced := 0, []string{}
	for offered < 3 || len(announced) < len(all)-1 {
		m := <-raw
		id, refused := m.Header.Get(nats.MsgIdHdr), m.Header.Get(nats.ExpectedStreamHdr) == refusing
		if first := id == all[0].ID; first == refused || first != (m.Reply != "") {
			t.Fatalf("event %s was sent with the header %v and the reply %q", id, m.Header, m.Reply)
		}
		switch {
		case !refused:
			offered++
		case !slices.Contains(announced, id): // each is announced again for a while
			announced = append(announced, id)
		}
	}
	if d := cmp.Diff(ids(all[1:]), announced); d != "" {
		t.Errorf("announced (-want +got):\n%s", d)
	}
}

// And on this: a stream refuses what is announced, with one server as with
// three.
func TestStreamsRefuseAnnouncements(t *testing.T) {
	for name, m := range map[string]*mesh{unique("refuse1"): single(t), unique("refuse3"): trio(t)} {
		b := ready(t, connect(t, busOptions(t, m, 0, name)))
		all := eventstest.MakeN(t, name, events.RecoveryStep, 2)
		nc, _ := admin(t, m)
		raw, err := all[0].Encode()
		check(t, err)
		msg := nats.NewMsg(events.Subject(name, events.RecoveryStep))
		msg.Data = raw
		msg.Header.Set(nats.MsgIdHdr, all[0].ID)
		msg.Header.Set(nats.ExpectedStreamHdr, refusing)
		check(t, nc.PublishMsg(msg))
		check(t, nc.Flush())
		// The other order than the announcement's, and the refused id is not
		// held for a duplicate afterwards.
		publish(t, b, all[1], all[0])
		drained(t, b)
		if d := cmp.Diff([]string{all[1].ID, all[0].ID}, streamIDs(t, m, name)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// An event that the disk has spoilt is dropped, and the ones behind it go on.
func TestUnreadableEventHoldsUpNothing(t *testing.T) {
	m := single(t)
	check(t, m.stop(0))
	const cluster = "spoilt"
	o := busOptions(t, m, 0, cluster)
	b := connect(t, o)
	all := eventstest.MakeN(t, cluster, events.RecoveryStep, 5)
	publish(t, b, all...)
	spoil(t, o.Dir, all[1].ID)
	check(t, m.start(0))
	drained(t, b)
	want := append(ids(all[:1]), ids(all[2:])...)
	if d := cmp.Diff(want, streamIDs(t, m, cluster)); d != "" {
		t.Errorf("stream (-want +got):\n%s", d)
	}
}
