package attack

import (
	"fmt"
	"testing"

	"healer/internal/localpg"
	"healer/topology"
)

// TestCoordinatorKilledInRows ends the agent that acts where a gap that no slot has any
// more is carried as rows: at the bounds of that step, and inside of it, with rows
// written and the progress not moved, or both. Another one compares anew and finishes:
// all rows are equal, with the times at which they were written, nothing travels on,
// and nothing is left over. HEALER_ATTACK_FULL=1 is for all moments; else each run takes
// another one.
func TestCoordinatorKilledInRows(t *testing.T) {
	c := newCluster(t, nodes(t, 3), "recovery: {fallback: rows}")
	all := []string{"before_apply rows", "after_apply rows"}
	for _, after := range []int{1, 10, 40, 120, 200} {
		all = append(all, fmt.Sprintf("inside rows %dms", after))
	}
	c.walk("", some(t, random(t), all, 1), (*cluster).killedInRows)
}

func (c *cluster) killedInRows(moment string) {
	c.healthy()
	g := c.fallBehind()
	for _, n := range c.survivors() {
		if n == laggard {
			continue
		}
		// The keeper may hold it just then; the one that it makes in its place is
		// younger than the gap.
		slot := topology.RecoverySlotName("app", n, laggard)
		c.await("the recovery slot is gone", func() error {
			_, err := localpg.Value[string](c.Context(), c.m.Node(n), `select pg_drop_replication_slot('`+slot+`')::text`)
			return err
		})
	}
	c.dieAt(moment)
	c.nothingLeft()
	c.equal(g)
}
