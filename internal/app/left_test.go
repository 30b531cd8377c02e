package app

import (
	"context"
	"errors"
	"testing"

	"healer/executor"
	"healer/planner"
	"healer/rescue"
	"healer/topology"
)

func TestRowsThatAreLeftAreForTheNextRun(t *testing.T) {
	t.Parallel()
	fault := func(code string) error {
		return errors.Join(&topology.Fault{Class: topology.Permanent, Code: code, Err: errors.New("it failed")})
	}
	for name, c := range map[string]struct {
		kind  planner.Kind
		out   executor.Outcome
		left  int
		taken int
	}{
		"a node was lost meanwhile": {planner.Recovery, executor.Outcome{State: executor.Failed, Err: fault(executor.CodeNodeLost)}, 2, 2},
		"another agent is at it":    {planner.Recovery, executor.Outcome{State: executor.Yielded, Err: fault("lock_held")}, 1, 1},
		"it was cancelled":          {planner.Recovery, executor.Outcome{State: executor.Cancelled, Err: context.Canceled}, 1, 1},
		"other rows differ":         {planner.Recovery, executor.Outcome{State: executor.Failed, Err: fault("diverged")}, 1, 1},
		"their table is gone":       {planner.Recovery, executor.Outcome{State: executor.Failed, Err: fault("table_missing")}, 1, 0},
		"all was compared":          {planner.Recovery, executor.Outcome{State: executor.Verified}, 0, 0},
		"a rejoin":                  {planner.Rejoin, executor.Outcome{State: executor.Failed, Err: fault(executor.CodeNodeLost)}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := leftRows{}
			l.keep(planner.Plan{Kind: c.kind, Node: "n1"}, c.out, func() []*rescue.Touched { return make([]*rescue.Touched, c.left) })
			if got := l.take(planner.Plan{Kind: planner.Recovery, Node: "n2"}); len(got) > 0 {
				t.Errorf("the recovery of another node gets %d", len(got))
			}
			if got := l.take(planner.Plan{Kind: planner.Rejoin, Node: "n1"}); len(got) > 0 {
				t.Errorf("a rejoin gets %d, and compares none", len(got))
			}
			again := planner.Plan{Kind: planner.Recovery, Node: "n1"}
			if got := len(l.take(again)); got != c.taken {
				t.Errorf("the next run gets %d, want %d", got, c.taken)
			}
			if got := l.take(again); len(got) > 0 {
				t.Errorf("and the one after it %d", len(got))
			}
		})
	}
}
