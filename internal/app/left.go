package app

import (
	"errors"

	"healer/executor"
	"healer/planner"
	"healer/rescue"
	"healer/topology"
)

// leftRows are the rows, by the lost node, that runs of its recovery have taken off to
// free apply workers and have not compared, because something came in between. The keys of
// a gap the next run learns anew from the log; of these no log tells. They are few, and
// only name rows: to compare one more often than needed does no harm.
type leftRows map[string][]*rescue.Touched

// take gives a run what those before it have left.
func (l leftRows) take(p planner.Plan) []*rescue.Touched {
	if p.Kind != planner.Recovery {
		return nil
	}
	rows := l[p.Node]
	delete(l, p.Node)
	return rows
}

// keep keeps what a run has left. One may have failed at these very rows, because their
// table is gone by now or has another key: then the next begins without.
func (l leftRows) keep(p planner.Plan, out executor.Outcome, left func() []*rescue.Touched) {
	f, failed := errors.AsType[*topology.Fault](out.Err)
	if p.Kind != planner.Recovery || failed && (f.Code == "table_missing" || f.Code == "key_differs") {
		return
	}
	if rows := left(); len(rows) > 0 {
		l[p.Node] = rows
	}
}
