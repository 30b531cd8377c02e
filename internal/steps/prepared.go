package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"healer/planner"
	"healer/topology"
)

// prepared refuses a gap that begins or ends within a prepared transaction of the
// lost node. T's progress would pass the PREPARE of one that the source alone holds,
// whose COMMIT PREPARED then finds nothing; one that T alone holds has locked what
// the gap writes.
func (r *Run) prepared(ctx context.Context, p planner.Plan, l *lane) error {
	var held [2]decided
	for i, node := range []string{l.Source, l.Target} {
		_, sub, err := r.seen(p, node)
		if err != nil {
			return err
		}
		xids, err := r.Engine.Prepared(ctx, node, sub)
		if err != nil {
			return err
		}
		held[i] = decided{node: node, subscription: sub.ID, xids: xids}
	}
	there, here := held[0].without(held[1]), held[1].without(held[0])
	if len(there.xids)+len(here.xids) == 0 {
		return nil
	}
	remedies := append(there.by("COMMIT PREPARED", "or ROLLBACK PREPARED"), here.by("ROLLBACK PREPARED", "and the gap brings it if it was committed")...)
	return &topology.Fault{
		Class: topology.Permanent, Code: "prepared_open", Node: l.Target,
		Err: fmt.Errorf("%s has prepared transactions that %s and %s do not both hold: the transaction ids are %q there and %q here",
			p.Node, l.Source, l.Target, held[0].xids, held[1].xids),
		Hint: strings.Join(remedies, "; "),
	}
}

// decided are prepared transactions of the lost node that a survivor holds.
type decided struct {
	node         string
	subscription uint32
	xids         []string
}

// without are those that the other does not hold.
func (d decided) without(o decided) decided {
	d.xids = slices.DeleteFunc(slices.Clone(d.xids), func(x string) bool { return slices.Contains(o.xids, x) })
	return d
}

// maxRemedies is how many statements a hint has.
const maxRemedies = 5

// by are the statements that decide them. An apply worker names a transaction by its
// subscription and the id it has on the publisher.
func (d decided) by(statement, besides string) []string {
	var out []string
	for _, x := range d.xids[:min(len(d.xids), maxRemedies)] {
		out = append(out, fmt.Sprintf("on %s: %s 'pg_gid_%d_%s' (%s)", d.node, statement, d.subscription, x, besides))
	}
	if left := len(d.xids) - len(out); left > 0 {
		out = append(out, fmt.Sprintf("and %d more on %s", left, d.node))
	}
	return out
}
