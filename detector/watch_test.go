package detector

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

// A reader that never reads holds up nobody, and still gets the last word on
// every node.
func TestSlowWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ws watchers
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := ws.add(ctx, []Verdict{{Node: "n1", Reason: "first"}})
		const rounds = 10 * maxBacklog
		for i := range rounds {
			ws.give([]Verdict{{Node: "n1", Reason: fmt.Sprint(i)}, {Node: "n2", Reason: fmt.Sprint(i)}})
		}
		last := map[string]string{}
		count := 0
		for last["n1"] != fmt.Sprint(rounds-1) || last["n2"] != fmt.Sprint(rounds-1) {
			v := <-out
			last[v.Node] = v.Reason
			count++
		}
		if count > maxBacklog+4 {
			t.Errorf("%d verdicts were kept", count)
		}
		cancel()
		if _, open := <-out; open {
			t.Error("the channel gives more after its context ended")
		}
		ws.close()
		if _, open := <-ws.add(t.Context(), []Verdict{{}}); open {
			t.Error("a closed set of watchers gives verdicts")
		}
	})
}

func TestCloseEndsWatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ws watchers
		out := ws.add(t.Context(), []Verdict{{Node: "n1"}})
		ws.close()
		if _, open := <-out; open {
			// The first verdict may have been on its way; nothing follows it.
			if _, open := <-out; open {
				t.Error("the channel is still open")
			}
		}
	})
}
