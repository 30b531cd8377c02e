package engine

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"healer/postgres"
	"healer/topology"
)

// FlushedLSN is the node's flushed position.
func (e *Engine) FlushedLSN(ctx context.Context, node string) (topology.LSN, error) {
	return with(e, node, func(s *postgres.Server) (topology.LSN, error) { return s.FlushedLSN(ctx) })
}

// Flush makes the node flush all it has written and applied, and returns a
// flushed position behind it.
func (e *Engine) Flush(ctx context.Context, node string) (topology.LSN, error) {
	return with(e, node, func(s *postgres.Server) (topology.LSN, error) { return s.Flush(ctx) })
}

// Progress is what the node has applied of the origin with that name; with
// flush, what is on its disk too.
func (e *Engine) Progress(ctx context.Context, node, origin string, flush bool) (topology.LSN, error) {
	return with(e, node, func(s *postgres.Server) (topology.LSN, error) {
		t, err := e.tongue(ctx, s)
		if err != nil {
			return 0, err
		}
		return t.progress(ctx, s, origin, flush)
	})
}

// ProgressAll is the node's flushed progress for each node it subscribes to, or what it
// has confirmed to that node where progress does not begin with a transaction.
// Subscriptions whose provider is unknown are not in it.
func (e *Engine) ProgressAll(ctx context.Context, node string) (map[string]topology.LSN, error) {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return nil, err
	}
	subs, err := e.subscriptions(ctx, s)
	if err != nil {
		return nil, err
	}
	all := make(map[string]topology.LSN)
	for _, sub := range subs {
		provider := e.providers.of(node, sub)
		if provider == "" {
			continue
		}
		if all[provider], err = t.progress(ctx, s, sub.Origin, true); err != nil {
			return nil, err
		}
		if t.Primed() {
			all[provider] = max(all[provider], e.confirmed(node, provider, all[provider]))
		}
	}
	return all, nil
}

// confirmation is how far a node has told a provider that it has its log on disk, and the
// least progress that it was seen with since.
type confirmation struct{ told, progress topology.LSN }

// tell takes note of what the slots of a provider have confirmed. Once confirmed it stays
// true, whatever becomes of the provider.
func (e *Engine) tell(provider string, slots []topology.Slot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range slots {
		if s.Kind == topology.SlotMesh {
			c := e.told[[2]string{s.To, provider}]
			c.told = max(c.told, s.Confirmed)
			e.told[[2]string{s.To, provider}] = c
		}
	}
}

// confirmed is what the node has told the provider. It counts no more when the node's
// progress has gone back: then its disk is another one.
func (e *Engine) confirmed(node, provider string, progress topology.LSN) topology.LSN {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := [2]string{node, provider}
	c := e.told[key]
	if progress < c.progress {
		delete(e.told, key)
		return 0
	}
	c.progress = progress
	e.told[key] = c
	return c.told
}

// MarkGap and UnmarkGap are those of the node's server.
func (e *Engine) MarkGap(ctx context.Context, node, origin string, from, to topology.LSN) (topology.GapMark, error) {
	return with(e, node, func(s *postgres.Server) (topology.GapMark, error) { return s.MarkGap(ctx, origin, from, to) })
}

// UnmarkGap removes the mark of the origin's gap up to to, see postgres.Server, and
// those that say what was done by hand in it.
func (e *Engine) UnmarkGap(ctx context.Context, node, origin string, to topology.LSN) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	if err := s.UnmarkGap(ctx, origin, to); err != nil {
		return err
	}
	return forgetDone(ctx, s, origin)
}

// Prepared are the provider's transaction ids of those that it prepared, that the
// node holds for the subscription, and whose outcome it has not received; only
// subscriptions with two_phase have any.
func (e *Engine) Prepared(ctx context.Context, node string, sub topology.Subscription) ([]string, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, err
	}
	t, err := e.tongue(ctx, s)
	if err != nil || t.Dialect.Prepared() == "" {
		return nil, err
	}
	var xids []string
	err = s.JSON(ctx, &xids, t.Dialect.Prepared(), strconv.FormatUint(uint64(sub.ID), 10))
	return xids, err
}

// lastCommitSQL looks at the newest transactions for those of an origin. Commit
// timestamps are kept by transaction, and not in the order of commits.
const lastCommitSQL = `SELECT to_jsonb(coalesce((extract(epoch FROM max(c.timestamp)) * 1000000)::bigint, 0))
	FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) s,
		generate_series(greatest(s.next - 500000, 3), s.next - 1) x,
		LATERAL pg_xact_commit_timestamp_origin((x % 4294967296)::text::xid) c
	WHERE x % 4294967296 >= 3 AND c.roident IN ((SELECT roident FROM pg_replication_origin WHERE roname = $1), $2::bigint::oid)`

// writer is the id under which the subscription's commits are beside that of its origin.
func writer(sub topology.Subscription) any {
	if sub.Writer == 0 {
		return nil
	}
	return int64(sub.Writer)
}

// LastCommit is the commit timestamp of the provider's last transaction that the
// node has applied, as far as it is among the newest half million here; else zero.
func (e *Engine) LastCommit(ctx context.Context, node string, sub topology.Subscription) (time.Time, error) {
	s, err := e.server(node)
	if err != nil {
		return time.Time{}, err
	}
	var raw []byte
	var micros int64
	if err := s.Slow(ctx, lastCommitSQL, []any{sub.Origin, writer(sub)}, &raw); err != nil {
		return time.Time{}, err
	}
	if err := json.Unmarshal(raw, &micros); err != nil || micros == 0 {
		return time.Time{}, err
	}
	return time.UnixMicro(micros).UTC(), nil
}

// stampedSQL looks for a transaction of an origin whose commit timestamp is known and
// not later than a time, among those that have one, and the newest five million of them
// at most. That an older transaction has none is what the control file says as of the
// last checkpoint, or the function by NULL.
const stampedSQL = `SELECT to_jsonb(EXISTS (
	SELECT FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
			(SELECT oldest_commit_ts_xid::text::bigint FROM pg_control_checkpoint()) AS oldest) s,
		generate_series(greatest(s.next - 5000000, 3,
			CASE WHEN s.oldest >= 3 THEN s.next - (s.next % 4294967296 - s.oldest + 4294967296) % 4294967296 ELSE 3 END), s.next - 1) x,
		LATERAL pg_xact_commit_timestamp_origin((x % 4294967296)::text::xid) c
	WHERE x % 4294967296 >= 3 AND c.roident IN ((SELECT roident FROM pg_replication_origin WHERE roname = $1), $3::bigint::oid)
		AND (extract(epoch FROM c.timestamp) * 1000000)::bigint <= $2))`

// Stamped reports whether the node knows the commit timestamps of all that it applied of
// the provider after a time: it does when it knows that of a transaction from before, since
// it applies them in their order and forgets the oldest first. Rows whose timestamp is
// forgotten would lose to any older write that has one.
func (e *Engine) Stamped(ctx context.Context, node string, sub topology.Subscription, since time.Time) (bool, error) {
	s, err := e.server(node)
	if err != nil {
		return false, err
	}
	var raw []byte
	if err := s.Slow(ctx, stampedSQL, []any{sub.Origin, since.UnixMicro(), writer(sub)}, &raw); err != nil {
		return false, err
	}
	var known bool
	err = json.Unmarshal(raw, &known)
	return known, err
}
