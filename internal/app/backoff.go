package app

import "time"

// The pauses after runs that did not succeed. What a new plan may mend is tried
// again soon; what waits for an operator is tried again late, in case nobody
// tells us that it was mended.
const (
	soonest     = 250 * time.Millisecond
	soonLimit   = 30 * time.Second
	laterFirst  = 10 * time.Second
	laterLimit  = 5 * time.Minute
	backoffBase = 2
)

// attempts paces the runs of one plan after another failed.
type attempts struct {
	now   func() time.Time
	plans map[string]attempt
}

type attempt struct {
	pause time.Duration
	next  time.Time
}

func newAttempts(now func() time.Time) *attempts {
	return &attempts{now: now, plans: map[string]attempt{}}
}

// due reports whether the plan may be run now.
func (a *attempts) due(plan string) bool { return !a.now().Before(a.plans[plan].next) }

// failed notes that a run of the plan did not succeed.
func (a *attempts) failed(plan string, soon bool) {
	first, limit := laterFirst, laterLimit
	if soon {
		first, limit = soonest, soonLimit
	}
	pause := min(max(a.plans[plan].pause*backoffBase, first), limit)
	a.plans[plan] = attempt{pause: pause, next: a.now().Add(pause)}
}

// failing reports whether the last run of the plan did not succeed.
func (a *attempts) failing(plan string) bool { return a.plans[plan].pause > 0 }

// succeeded forgets the plan's failures.
func (a *attempts) succeeded(plan string) { delete(a.plans, plan) }

// forget lets every plan be run at once: what stood in the way may be gone.
func (a *attempts) forget() { clear(a.plans) }
