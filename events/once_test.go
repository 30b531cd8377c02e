package events_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"healer/events"
	"healer/events/natsbus"
)

// TestOnceBeyondTheWindow: an agent that was cut off brings an event again when the stream
// has forgotten its id, so that it stands in the stream twice. The subscriber of the
// documentation acts on it once, also when it was killed between its work and its word,
// and when it starts anew; and so does a subscription of Healer's own.
func TestOnceBeyondTheWindow(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := stage(ctx, func(url, dir string) error { beyond(ctx, t, url, filepath.Join(dir, "report")); return nil }); err != nil {
		t.Fatal(err)
	}
}

func beyond(ctx context.Context, t *testing.T, url, path string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	nc, err := nats.Connect(url)
	must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(err)
	st, err := js.Stream(ctx, events.Stream("app"))
	must(err)
	window := st.CachedInfo().Config
	window.Duplicates = 100 * time.Millisecond // the least that NATS takes
	st, err = js.UpdateStream(ctx, window)
	must(err)

	// n1 was lost and told of by stage; now again, until the stream takes it for new.
	first, err := st.GetMsg(ctx, 1)
	must(err)
	again, err := events.Decode(first.Data)
	must(err)
	again.Source = "/healer/app/n3"
	var late *natsbus.Bus
	defer func() { must(late.Close(ctx)) }()
	for stored := 0; stored < 2; {
		if late != nil {
			must(late.Close(ctx))
		}
		// An outbox of its own: an agent remembers what it has sent not long ago.
		late, err = natsbus.Connect(ctx, natsbus.Options{DialOptions: natsbus.DialOptions{Cluster: "app", URLs: []string{url}}, Agent: "n3", Replicas: 1, Dir: t.TempDir()})
		must(err)
		must(late.Publish(again))
		for late.Status().Pending > 0 {
			must(pause(ctx))
		}
		info, err := st.Info(ctx, jetstream.WithSubjectFilter(">"))
		must(err)
		stored = 0
		for seq := range info.State.LastSeq {
			m, err := st.GetMsg(ctx, seq+1)
			must(err)
			if m.Header.Get(jetstream.MsgIDHeader) == again.ID {
				stored++
			}
		}
	}

	// It is killed when it has written and not acknowledged: what it wrote last, half.
	report, err := openLedger(path)
	must(err)
	must(listen(ctx, url, "app", report, 1))
	_, err = fmt.Fprint(report.file, "half a li")
	must(err)
	must(report.file.Close())
	report, err = openLedger(path)
	must(err)
	defer report.file.Close()
	must(js.DeleteConsumer(ctx, events.Stream("app"), "reports")) // and NATS has forgotten how far it was
	must(listen(ctx, url, "app", report, 3))
	raw, err := os.ReadFile(path)
	must(err)
	var got []string
	for line := range strings.Lines(string(raw)) {
		_, work, _ := strings.Cut(line, " ")
		got = append(got, strings.TrimSpace(work))
	}
	if want := []string{"n1 was lost: 600 transactions were carried across", "n2 was lost: 7 transactions were carried across"}; !slices.Equal(got, want) {
		t.Errorf("of three events in the stream it did %q", got)
	}

	var seen []string
	for e, err := range events.Seq(ctx, late, events.Filter{Kinds: "recovery.verified", From: events.FromStart()}) {
		must(err)
		if seen = append(seen, e.Subject); e.Subject == "n2" {
			break
		}
	}
	if !slices.Equal(seen, []string{"n1", "n2"}) {
		t.Errorf("a subscription of Healer's own had %v", seen)
	}
}

// pause lets others run.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Millisecond):
		return nil
	}
}
