package app

import (
	"context"
	"testing"

	"healer/detector"
	"healer/topology"
)

// A reading that hangs ends when a node is judged failed, if that is news; one that ends
// by itself has not waited for any verdict.
func TestReadingEndsWhenANodeIsLost(t *testing.T) {
	t.Parallel()
	verdicts := func(all ...detector.Verdict) func(context.Context) <-chan detector.Verdict {
		return func(ctx context.Context) <-chan detector.Verdict {
			out := make(chan detector.Verdict, len(all))
			for _, v := range all {
				out <- v
			}
			context.AfterFunc(ctx, func() { close(out) })
			return out
		}
	}
	up, n1, n2 := detector.Verdict{Node: "n3", Life: detector.LifeUp}, detector.Verdict{Node: "n1", Life: detector.LifeFailed}, detector.Verdict{Node: "n2", Life: detector.LifeFailed}
	hangs := func(ctx context.Context) topology.Observation {
		<-ctx.Done()
		return topology.Observation{Cluster: "given up"}
	}
	if obs, again := unlessLost(t.Context(), []string{"n1"}, verdicts(up, n1, n2), hangs); !again || obs.Cluster != "given up" {
		t.Errorf("%+v, again %v: n2 was lost meanwhile", obs, again)
	}
	reads := func(context.Context) topology.Observation { return topology.Observation{Cluster: "read"} }
	if obs, again := unlessLost(t.Context(), []string{"n1"}, verdicts(up, n1), reads); again || obs.Cluster != "read" {
		t.Errorf("%+v, again %v: nothing was lost", obs, again)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, again := unlessLost(ended, nil, verdicts(up), hangs); again {
		t.Error("the agent ends, and nobody was lost")
	}
}
