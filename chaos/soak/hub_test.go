package soak

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"healer/chaos/scenario"
	"healer/events"
)

// refusal is an event as agents tell it.
func refusal(id, reason string) events.Event {
	return events.Event{ID: id, Type: "healer.v1." + string(events.RecoveryRefused), Subject: "n1", Data: []byte(`{"reason":"` + reason + `"}`)}
}

// TestAwaitAll: a refusal for another reason, or a kind that comes alone, is not what was
// expected; the last event ends the wait, and without it the end of the time does.
func TestAwaitAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		x := scenario.Expect{Events: []string{"recovery.refused"}, Refused: []string{"behind_watermark"}, Never: []string{"node.rejoined"}}
		var missing []string
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			missing = h.awaitAll(t.Context(), x)
		}()
		h.hear(refusal("a", "no_majority"))
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("another refusal ended the wait")
		default:
		}
		over, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got := h.awaitAll(over, x); !slices.Equal(got, []string{"nothing was refused as behind_watermark"}) {
			t.Errorf("after a minute there is missing: %q", got)
		}
		h.hear(refusal("b", "behind_watermark"))
		<-ended
		if len(missing) > 0 {
			t.Errorf("missing: %q", missing)
		}
		if got := h.count()["recovery.refused"]; got != 2 {
			t.Errorf("%d refusals were counted, want 2", got)
		}
	})
}

// TestAhead: what was heard is awaited in the stream, in whatever order that has it.
func TestAhead(t *testing.T) {
	t.Parallel()
	h := newHub()
	a, b := refusal("a", "no_majority"), refusal("b", "behind_watermark")
	h.hear(a)
	if err := h.ahead([]events.Event{b, a}); err != nil {
		t.Error(err)
	}
	h.hear(b)
	if h.ahead([]events.Event{a}) == nil || h.ahead(nil) == nil {
		t.Error("a stream that lacks an event was taken for whole")
	}
}
