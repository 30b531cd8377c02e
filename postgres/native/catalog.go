package native

import (
	"context"
	"fmt"

	"healer/postgres"
	"healer/topology"
)

// catalog is what is read of the mesh from one server, in one snapshot.
type catalog struct {
	Subscriptions []subscription  `json:"subscriptions"`
	Slots         []topology.Slot `json:"slots"`
	Marks         []string        `json:"marks"`
	// Made has the transaction that made each mark.
	Made        map[string]uint32 `json:"made"`
	SlotsUsed   int               `json:"slots_used"`
	SendersUsed int               `json:"senders_used"`
	OriginsUsed int               `json:"origins_used"`
}

// subscription is a row of pg_subscription with its workers.
type subscription struct {
	Name         string       `json:"name"`
	OID          uint32       `json:"oid"`
	Enabled      bool         `json:"enabled"`
	Slot         string       `json:"slot"`
	Publications []string     `json:"publications"`
	Forwards     string       `json:"forwards"`
	Owned        bool         `json:"owned"`
	ConnInfo     string       `json:"conninfo"`
	Progress     topology.LSN `json:"progress"`
	// Unready counts the tables whose first copy is not finished.
	Unready int      `json:"unready"`
	Workers []worker `json:"workers"`
}

// worker is a process that works for a subscription.
type worker struct {
	// Leader is the apply worker itself, not one that copies a table nor one
	// that helps it with a streamed transaction.
	Leader bool   `json:"leader"`
	Sync   bool   `json:"sync"`
	Wait   string `json:"wait"`
}

// originName is the origin under which the server applies the subscription.
func originName(oid uint32) string { return fmt.Sprintf("pg_%d", oid) }

// waiting are the wait events in which an apply worker holds nothing that it
// received and has not applied: between messages, or still connecting.
func waiting(event string) bool {
	switch event {
	case "LogicalApplyMain",
		"LibPQWalReceiverConnect", "LibPQWalReceiverReceive", // 16
		"LibpqwalreceiverConnect", "LibpqwalreceiverReceive": // 17 on
		return true
	}
	return false
}

// connecting are the wait events of an apply worker that has received nothing
// yet. It looks at its subscription again before it applies anything.
func connecting(event string) bool {
	return waiting(event) && event != "LogicalApplyMain"
}

func (s subscription) state() topology.WorkerState {
	state := topology.WorkerNone
	for _, w := range s.Workers {
		switch {
		case w.Sync, w.Leader && !waiting(w.Wait):
			return topology.WorkerBusy
		case w.Leader:
			state = topology.WorkerIdle
		}
	}
	return state
}

// stopped reports that nothing of the subscription can apply any more, once it
// is disabled.
func (s subscription) stopped() bool {
	for _, w := range s.Workers {
		if !w.Leader || !connecting(w.Wait) {
			return false
		}
	}
	return true
}

func (g grants) subscriptionsJSON() string {
	progress, join, conninfo := `'0/0'`, ``, `''`
	if g.progress {
		progress = `coalesce(o.remote_lsn, '0/0')`
		join = `LEFT JOIN pg_show_replication_origin_status() o ON o.external_id = 'pg_' || s.oid`
	}
	if g.conninfo {
		conninfo = `s.subconninfo`
	}
	return `coalesce((
	SELECT jsonb_agg(jsonb_build_object(
		'name', s.subname, 'oid', s.oid::bigint, 'enabled', s.subenabled,
		'slot', coalesce(s.subslotname, ''), 'publications', to_jsonb(s.subpublications),
		'forwards', s.suborigin, 'owned', pg_has_role(s.subowner, 'USAGE'),
		'conninfo', ` + conninfo + `, 'progress', ` + progress + `,
		'unready', (SELECT count(*) FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate NOT IN ('r', 's')),
		'workers', coalesce((
			SELECT jsonb_agg(jsonb_build_object(
				'leader', w.relid IS NULL AND w.leader_pid IS NULL, 'sync', w.relid IS NOT NULL,
				'wait', coalesce(a.wait_event, '')))
			FROM pg_stat_subscription w
			LEFT JOIN pg_stat_activity a ON a.pid = w.pid AND a.backend_type LIKE 'logical replication%'
			WHERE w.subid = s.oid AND w.pid IS NOT NULL), '[]')
	) ORDER BY s.subname)
	FROM pg_subscription s ` + join + `
	WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
), '[]')`
}

func (g grants) catalogSQL() string {
	origins := `0`
	if g.progress {
		origins = `(SELECT count(*) FROM pg_show_replication_origin_status())`
	}
	return `SELECT jsonb_build_object(
	'subscriptions', ` + g.subscriptionsJSON() + `,
	'slots', ` + postgres.SlotsJSON + `,
	'marks', ` + postgres.MarksJSON + `,
	'made', ` + postgres.MadeJSON + `,
	'slots_used', (SELECT count(*) FROM pg_replication_slots),
	'senders_used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
	'origins_used', ` + origins + `)`
}

// subscriptions reads the node's subscriptions afresh.
func (e *Engine) subscriptions(ctx context.Context, s *postgres.Server) ([]subscription, error) {
	g, err := e.grantsOf(ctx, s)
	if err != nil {
		return nil, err
	}
	var subs []subscription
	err = s.JSON(ctx, &subs, "SELECT "+g.subscriptionsJSON())
	return subs, err
}

// byOID reads one subscription afresh; false when it is gone.
func (e *Engine) byOID(ctx context.Context, s *postgres.Server, oid uint32) (subscription, bool, error) {
	subs, err := e.subscriptions(ctx, s)
	for _, sub := range subs {
		if sub.OID == oid {
			return sub, true, nil
		}
	}
	return subscription{}, false, err
}

// reading finds the node's subscription to the provider, afresh.
func (e *Engine) reading(ctx context.Context, node, provider string) (*postgres.Server, subscription, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, subscription{}, err
	}
	subs, err := e.subscriptions(ctx, s)
	if err != nil {
		return nil, subscription{}, err
	}
	for _, sub := range subs {
		if e.providers.of(node, sub) == provider {
			return s, sub, nil
		}
	}
	return nil, subscription{}, &topology.Fault{
		Class: topology.Transient, Code: "no_subscription", Node: node,
		Hint: "create the subscription, or let Healer's role read pg_subscription.subconninfo",
		Err:  fmt.Errorf("no subscription is known to read from %s", provider),
	}
}
