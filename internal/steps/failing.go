package steps

import (
	"context"
	"fmt"
	"time"

	"healer/planner"
)

// A worker that has failed so often and for so long, and never rested so long in between,
// fails over and over: it tries again after wal_retrieve_retry_interval, by default five
// seconds. Until then rows in its way may have been taken off.
const (
	failuresTold = 3
	failuresFor  = 10 * time.Second
	failuresRest = 15 * time.Second
)

// failing are the apply workers that have failed while somebody looked, by node and
// subscription.
type failing map[[2]string]*failures

type failures struct {
	// first is how often it had failed before, last by the last look.
	first, last int64
	// began is when that was, since when the last failure was seen.
	began, since time.Time
}

// look asks all servers. One that does not answer is not what this is about.
func (f failing) look(ctx context.Context, servers []Waiter) (found *planner.Refusal) {
	for _, s := range servers {
		counts, err := s.ApplyFailures(ctx)
		if err != nil {
			continue
		}
		for subscription, n := range counts {
			if r := f.seen(s.Name(), subscription, n, time.Now()); found == nil || r != nil && r.Why < found.Why {
				found = r
			}
		}
	}
	return found
}

// seen takes in how often a worker has failed by now.
func (f failing) seen(node, subscription string, n int64, now time.Time) *planner.Refusal {
	at := [2]string{node, subscription}
	w := f[at]
	switch {
	case w == nil || n < w.last || now.Sub(w.since) >= failuresRest && n == w.last:
		f[at] = &failures{first: n, last: n, began: now, since: now}
		return nil
	case n > w.last:
		w.last, w.since = n, now
	}
	if w.last-w.first < failuresTold || now.Sub(w.began) < failuresFor {
		return nil
	}
	return &planner.Refusal{
		Reason: planner.ApplyFails, Node: node, Wait: true,
		Why:    fmt.Sprintf("on %s the apply worker of subscription %s fails over and over, and what waits for it waits", node, subscription),
		Remedy: fmt.Sprintf("the log of the server of %s says at which row of which table, and why; mend that, and it goes on by itself", node),
	}
}
