package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"healer/events"
	"healer/internal/demo/compare"
	"healer/internal/demo/show"
	"healer/internal/localpg"
	"healer/topology"
)

// step is one step of the story: what is said when it begins, how long it may
// take, and what it does; do returns what is said at its end.
type step struct {
	name  string
	says  string
	limit time.Duration
	do    func(ctx context.Context) (string, error)
}

// steps is the story. No step sleeps: each waits for what it needs to see.
func (r *run) steps() []step {
	o := r.opts
	kill, late, ahead := o.Kill, o.laggard(), o.ahead()
	return []step{
		{"servers", fmt.Sprintf("start %d PostgreSQL servers that replicate both ways", o.Nodes), 3 * time.Minute, r.startServers},
		{"agents", "start an agent for each, from one cluster file", time.Minute, r.startAgents},
		{"ready", "wait until the agents agree and every recovery slot is in place", 2 * time.Minute, r.awaitReady},
		{"workload", "write on every node", time.Minute, r.startWorkload},
		{"gap", fmt.Sprintf("cut the link %s → %s and write %d rows on %s", kill, late, o.Rows, kill), 10 * time.Minute, r.makeGap},
		{"share", fmt.Sprintf("let %s change rows of %s that %s has not got", ahead, kill, late), time.Minute, r.share},
		{"kill", fmt.Sprintf("SIGKILL the server and the agent of %s", kill), time.Minute, r.kill},
		{"detect", "wait for node.failed", time.Minute, r.awaitFailed},
		{"heal", "wait for recovery.verified", 5 * time.Minute, r.awaitVerified},
		{"return", fmt.Sprintf("mend the link, start %s and its agent again", kill), time.Minute, r.restart},
		{"rejoin", "wait for node.rejoined", 3 * time.Minute, r.awaitRejoined},
		{"settle", "stop writing, wait until every node has everything", 2 * time.Minute, r.settle},
		{"compare", "compare every row of every table on every node", 5 * time.Minute, r.compare},
	}
}

// story runs the steps until one fails.
func (r *run) story(ctx context.Context) error {
	for _, s := range r.steps() {
		begin := time.Now()
		r.view.Show(show.Step{At: r.now(), Name: s.name, What: s.says})
		step, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("it took longer than %s", s.limit))
		said, err := s.do(step)
		cancel()
		end := show.Step{At: r.now(), Name: s.name, What: said, Ended: true, Took: time.Since(begin)}
		if err != nil {
			end.Err = fmt.Errorf("%s: %w", s.says, err)
		}
		r.view.Show(end)
		if err != nil {
			return end.Err
		}
	}
	return nil
}

// kill is the loss of a host: nobody gets to say anything.
func (r *run) kill(ctx context.Context) (string, error) {
	node := r.opts.Kill
	r.work.ResetPauses()
	r.atKill = r.work.Stats()
	r.killed = time.Now()
	var both sync.WaitGroup
	both.Go(r.agents[node].Kill)
	err := r.mesh.Kill(ctx, node)
	both.Wait()
	r.view.Show(show.Killed{At: show.Stamp(r.killed.Sub(r.begin)), Node: node})
	r.life(node, func(l *show.Life) { l.Server, l.Agent = false, false })
	return "killed " + node, err
}

func (r *run) awaitFailed(ctx context.Context) (string, error) {
	s, err := r.watch.await(ctx, r.killed, events.NodeFailed, r.opts.Kill)
	if err != nil {
		return "", err
	}
	r.report.DetectedAfterMS = milliseconds(s.at.Sub(r.killed))
	return fmt.Sprintf("detected %s after the kill", seconds(r.report.DetectedAfterMS)), nil
}

func (r *run) awaitVerified(ctx context.Context) (string, error) {
	s, err := r.watch.await(ctx, r.killed, events.RecoveryVerified, r.opts.Kill)
	if err != nil {
		return "", err
	}
	var v events.Verified
	if err := json.Unmarshal(s.event.Data, &v); err != nil {
		return "", fmt.Errorf("data of %s: %w", s.event.Kind(), err)
	}
	r.report.VerifiedAfterMS = milliseconds(s.at.Sub(r.killed))
	r.report.Source, r.report.TransactionsRecovered = v.Source, v.TransactionsRecovered
	r.report.RowsRepaired, r.report.RowsTouched = v.RowsRepaired, v.RowsCompared
	r.report.PhasesMS = v.PhasesMS
	if v.Laggards != nil {
		r.report.Laggards = v.Laggards
	}
	r.measureWrites()
	return fmt.Sprintf("%d transactions carried, %d rows repaired, verified %s after the kill",
		v.TransactionsRecovered, v.RowsRepaired, seconds(r.report.VerifiedAfterMS)), nil
}

// measureWrites says what the survivors wrote since the kill.
func (r *run) measureWrites() {
	var longest time.Duration
	for i, s := range r.work.Stats() {
		if s.Node == r.opts.Kill {
			continue
		}
		r.report.WritesDuringRecovery[s.Node] = s.Transactions - r.atKill[i].Transactions
		longest = max(longest, s.Pause)
	}
	r.report.LongestPauseMS = milliseconds(longest)
}

func (r *run) restart(ctx context.Context) (string, error) {
	node := r.opts.Kill
	if err := r.mesh.Heal(); err != nil {
		return "", err
	}
	r.view.Show(show.Cut{At: r.now(), From: node, To: r.opts.laggard(), Whole: true})
	r.killed = time.Now() // from here on the return is measured
	if err := r.mesh.Node(node).Start(ctx); err != nil {
		return "", err
	}
	if err := r.agents[node].Start(); err != nil {
		return "", err
	}
	r.life(node, func(l *show.Life) { l.Agent = true })
	return node + " runs again", nil
}

func (r *run) awaitRejoined(ctx context.Context) (string, error) {
	s, err := r.watch.await(ctx, r.killed, events.NodeRejoined, r.opts.Kill)
	if err != nil {
		return "", err
	}
	r.report.Rejoined = true
	r.report.RejoinedAfterMS = milliseconds(s.at.Sub(r.killed))
	return fmt.Sprintf("%s was taken back after %s", r.opts.Kill, seconds(r.report.RejoinedAfterMS)), nil
}

func (r *run) settle(ctx context.Context) (string, error) {
	r.work.Stop()
	if err := r.mesh.WaitCaughtUp(ctx); err != nil {
		return "", err
	}
	var rows int64
	for _, s := range r.work.Stats() {
		rows += s.Rows
	}
	return fmt.Sprintf("%d rows were written, and nothing is under way", rows+r.burst.Rows), nil
}

func (r *run) compare(ctx context.Context) (string, error) {
	nodes := make([]compare.Node, 0, r.opts.Nodes)
	for _, s := range r.mesh.Nodes() {
		nodes = append(nodes, compare.Node{Name: s.Name(), On: s})
	}
	res, err := compare.Tables(ctx, nodes)
	if err != nil {
		return "", err
	}
	r.report.Converged = res.Equal()
	r.report.TablesCompared, r.report.RowsCompared, r.report.RowsDiffering = res.Tables, res.Rows, res.Differing
	for _, d := range res.Differences {
		r.report.Differences = append(r.report.Differences, d.String())
	}
	if !res.Equal() {
		return "", fmt.Errorf("%w: %d rows differ", ErrNotConverged, res.Differing)
	}
	return fmt.Sprintf("%d rows of %d tables are equal on %s", res.Rows, res.Tables, strings.Join(r.opts.names(), ", ")), nil
}

// makeGap cuts a link, writes the gap, and waits until every survivor but one
// has it.
func (r *run) makeGap(ctx context.Context) (string, error) {
	node, late := r.opts.Kill, r.opts.laggard()
	r.mesh.Link(node, late).Cut()
	r.view.Show(show.Cut{At: r.now(), From: node, To: late})
	var err error
	told := int64(0)
	r.burst, err = r.work.Burst(ctx, node, r.opts.Rows, func(done int64) {
		if done-told >= int64(r.opts.Rows)/5 {
			told = done
			r.note("%d of %d rows written", done, r.opts.Rows)
		}
	})
	if err != nil {
		return "", err
	}
	r.report.GapRows = r.burst.Rows
	at, err := r.position(ctx, node)
	if err != nil {
		return "", err
	}
	for _, n := range r.opts.survivors() {
		if n == late {
			continue
		}
		if err := poll(ctx, func(ctx context.Context) error { return r.hasApplied(ctx, n, node, at) }); err != nil {
			return "", err
		}
	}
	if err := r.hasApplied(ctx, late, node, at); err == nil {
		return "", errors.New(late + " has what it should lack: the link was not cut")
	}
	return fmt.Sprintf("%d rows in %d transactions are missing on %s", r.burst.Rows, r.burst.Transactions, late), nil
}

// position is the end of the node's log, which a transaction follows before it
// returns, so that a peer's progress gets past it.
func (r *run) position(ctx context.Context, node string) (topology.LSN, error) {
	text, err := localpg.Value[string](ctx, r.mesh.Node(node), `select pg_current_wal_insert_lsn()::text`)
	if err != nil {
		return 0, err
	}
	if _, err := r.work.Burst(ctx, node, 1, nil); err != nil {
		return 0, err
	}
	return topology.ParseLSN(text)
}

// hasApplied is an error unless the node has applied everything of origin up to
// the position.
func (r *run) hasApplied(ctx context.Context, node, origin string, at topology.LSN) error {
	text, err := localpg.Value[string](ctx, r.mesh.Node(node), `
		select coalesce(max(o.remote_lsn), '0/0')::text from pg_subscription s
		join pg_replication_origin_status o on o.external_id = 'pg_' || s.oid
		where s.subname = $1`, localpg.SubscriptionName(node, origin))
	if err != nil {
		return err
	}
	has, err := topology.ParseLSN(text)
	if err == nil && has < at {
		err = fmt.Errorf("%s has %s only up to %s of %s", node, origin, has, at)
	}
	return err
}

// share lets a survivor change rows of the gap. What the laggard is told of them
// is about rows it does not have: it skips that, and replaying the gap alone
// would leave it with the old rows for ever.
func (r *run) share(context.Context) (string, error) {
	orders := r.burst.Orders[max(0, len(r.burst.Orders)-sharedOrders):]
	if err := r.work.Share(r.opts.ahead(), orders); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s changes and deletes %d orders of %s", r.opts.ahead(), len(orders), r.opts.Kill), nil
}

// sharedOrders is how many orders of the gap another node changes.
const sharedOrders = 200
