package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"healer/events"
	"healer/internal/localpg"
)

// rowsPerTransaction is the size of the lost node's transactions: seven new rows,
// and one of an earlier run changed.
const rowsPerTransaction = 8

// perRun is how many ids each run has for itself.
const perRun = 10_000_000

// The phases, in the order in which they pass.
const (
	phaseDetect = "detect"
	phasePlan   = "plan"
	phaseTell   = "tell"
)

// phaseNames are all of them: what passes until node.failed; from there until the
// first step; the steps by kind; and from the verdict until the event arrives.
func phaseNames() []string {
	return []string{phaseDetect, phasePlan, "fence", "observe", "clone", "advance", "subscribe", "verify", phaseTell}
}

// round is what one run came to.
type round struct {
	lost      string
	converged bool
	total     time.Duration
	phases    map[string]time.Duration
	// carried is what the recovery says that it carried across.
	carried int64
}

// String is a run in one line.
func (r round) String() string {
	parts := make([]string, 0, len(phaseNames()))
	for _, n := range phaseNames() {
		parts = append(parts, fmt.Sprintf("%s %d", n, r.phases[n].Milliseconds()))
	}
	return fmt.Sprintf("%d ms (%s)", r.total.Milliseconds(), strings.Join(parts, ", "))
}

// round makes a gap, kills a node, waits until the survivors are healed, and reads
// whether they are.
func (c *cluster) round(ctx context.Context, n int) (round, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.limit)
	defer cancel()
	names := c.mesh.Names()
	r := round{lost: names[n%len(names)], phases: map[string]time.Duration{}}
	if c.opts.kill != "" {
		r.lost = c.opts.kill
	}
	var survivors []string
	for _, s := range names {
		if s != r.lost {
			survivors = append(survivors, s)
		}
	}
	// Each survivor is the laggard in its turn.
	laggard := survivors[(n/len(names))%len(survivors)]
	transactions := (c.opts.rows + rowsPerTransaction - 1) / rowsPerTransaction
	if err := c.gap(ctx, n, r.lost, laggard, transactions); err != nil {
		return r, fmt.Errorf("making the gap: %w", err)
	}
	killed, err := c.kill(ctx, r.lost)
	if err != nil {
		return r, err
	}
	// The laggard's connection ends with the server it led to.
	c.mesh.Link(r.lost, laggard).Sever()
	if err := c.mesh.Heal(); err != nil {
		return r, err
	}
	if err := c.watch(ctx, &r, killed); err != nil {
		return r, err
	}
	if r.carried != int64(transactions) {
		return r, fmt.Errorf("%d transactions were carried, not %d", r.carried, transactions)
	}
	if err := c.equal(ctx, n, survivors); err != nil {
		return r, err
	}
	r.converged = true
	return r, nil
}

// gap lets the lost node write what the laggard does not get and the other
// survivors do.
func (c *cluster) gap(ctx context.Context, n int, lost, laggard string, transactions int) error {
	c.mesh.Link(lost, laggard).Cut()
	first := int64(n) * perRun
	sql := fmt.Sprintf(`do $$ begin
		perform set_config('synchronous_commit', 'off', false); -- making the gap is not measured
		for t in 0..%[1]d - 1 loop
			insert into item select %[2]d + t * 7 + i, %[3]d, i, md5(i::text || t) from generate_series(1, 7) i;
			update item set n = n + 1, pad = md5(pad) where id = %[2]d + t * 7 + 1;
			commit;
		end loop;
	end $$`, transactions, first, n)
	if _, err := c.mesh.Node(lost).Exec(ctx, sql); err != nil {
		return err
	}
	var have []string
	for _, s := range c.mesh.Names() {
		if s != laggard {
			have = append(have, s)
		}
	}
	if err := c.mesh.WaitCaughtUp(ctx, have...); err != nil {
		return err
	}
	got, err := localpg.Value[int64](ctx, c.mesh.Node(laggard), `select count(*) from item where id between $1 and $2`, first, first+perRun-1)
	if err == nil && got != 0 {
		err = fmt.Errorf("%s has %d rows that it should lack", laggard, got)
	}
	return err
}

// watch waits for the events and takes the times from them.
func (c *cluster) watch(ctx context.Context, r *round, killed time.Time) error {
	failed, err := c.seen.await(ctx, killed, events.NodeFailed, r.lost)
	if err != nil {
		return err
	}
	verified, err := c.seen.await(ctx, killed, events.RecoveryVerified, r.lost)
	if err != nil {
		return err
	}
	var v events.Verified
	if err := json.Unmarshal(verified.event.Data, &v); err != nil {
		return fmt.Errorf("data of %s: %w", verified.event.Kind(), err)
	}
	r.total, r.carried = verified.at.Sub(killed), v.TransactionsRecovered
	// Agents and bench share this machine's clock.
	steps := time.Duration(v.DurationMS) * time.Millisecond
	r.phases[phaseDetect] = failed.event.Time.Sub(killed)
	r.phases[phasePlan] = max(0, verified.event.Time.Sub(failed.event.Time)-steps)
	for kind, ms := range v.PhasesMS {
		r.phases[kind] = time.Duration(ms) * time.Millisecond
	}
	r.phases[phaseTell] = max(0, verified.at.Sub(verified.event.Time))
	return nil
}

// equal compares what the run wrote on the survivors.
func (c *cluster) equal(ctx context.Context, n int, survivors []string) error {
	const digest = `select count(*)::text || ' ' || coalesce(sum(hashtextextended(i::text || pg_xact_commit_timestamp(xmin)::text, 0)), 0)::text
		from item i where id between $1 and $2`
	first := int64(n) * perRun
	var errs []error
	var want string
	for i, s := range survivors {
		got, err := localpg.Value[string](ctx, c.mesh.Node(s), digest, first, first+perRun-1)
		switch {
		case err != nil:
			errs = append(errs, err)
		case i == 0:
			want = got
		case got != want:
			errs = append(errs, fmt.Errorf("%s has %s, %s has %s", survivors[0], want, s, got))
		}
	}
	return errors.Join(errs...)
}
