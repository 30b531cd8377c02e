package steps

import (
	"testing"

	"healer/planner"
	"healer/topology"
)

// A rejoin for which a recovery comes first must make way for it at once: waiting
// for it would be waiting for oneself.
func TestRejoinMakesWay(t *testing.T) {
	t.Parallel()
	for wait, want := range map[bool]topology.Class{true: topology.Conflict, false: topology.Permanent} {
		err := notNow(&planner.Refusal{Reason: planner.RecoveryUnfinished, Node: "n1", Wait: wait})
		if got := topology.ClassOf(err); got != want {
			t.Errorf("wait %t: class %v, want %v", wait, got, want)
		}
	}
}
