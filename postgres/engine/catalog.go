package engine

import (
	"context"
	"fmt"

	"healer/postgres"
	"healer/topology"
)

// catalog is what is read of the mesh from one server, in one snapshot.
type catalog struct {
	Subscriptions []Subscription  `json:"subscriptions"`
	Slots         []topology.Slot `json:"slots"`
	Marks         []string        `json:"marks"`
	// Made has the transaction that made each mark.
	Made        map[string]uint32 `json:"made"`
	SlotsUsed   int               `json:"slots_used"`
	SendersUsed int               `json:"senders_used"`
	OriginsUsed int               `json:"origins_used"`
}

// Subscription is one as the catalogs of its node have it, with its workers.
type Subscription struct {
	Name string `json:"name"`
	// ID is what the catalogs call it by, whatever its name: an oid.
	ID      uint32 `json:"id"`
	Enabled bool   `json:"enabled"`
	// Slot is the slot's name at the provider, Origin that of the replication origin here.
	Slot   string `json:"slot"`
	Origin string `json:"origin"`
	// Writer is topology.Subscription's.
	Writer uint32 `json:"writer"`
	// Publications are the sets of tables that it asks for.
	Publications []string `json:"publications"`
	// Forwards names the origins whose changes the provider passes on.
	Forwards string `json:"forwards"`
	// Owned is set when Healer's role may alter it.
	Owned bool `json:"owned"`
	// ConnInfo is how it connects, empty where that cannot be read.
	ConnInfo string       `json:"conninfo"`
	Progress topology.LSN `json:"progress"`
	// Unready counts the tables whose first copy is not finished.
	Unready int      `json:"unready"`
	Workers []Worker `json:"workers"`
}

// Worker is a process that works for a subscription.
type Worker struct {
	// Leader is the apply worker itself, not one that copies a table nor one
	// that helps it with a streamed transaction.
	Leader bool   `json:"leader"`
	Sync   bool   `json:"sync"`
	Wait   string `json:"wait"`
}

// State is what the workers do.
func (s Subscription) State(d Dialect) topology.WorkerState {
	state := topology.WorkerNone
	for _, w := range s.Workers {
		switch {
		case w.Sync, w.Leader && d.Rests(w.Wait) == Working:
			return topology.WorkerBusy
		case w.Leader:
			state = topology.WorkerIdle
		}
	}
	return state
}

// Stopped reports that nothing of the subscription can apply any more, once it
// is disabled.
func (s Subscription) Stopped(d Dialect) bool {
	for _, w := range s.Workers {
		if !w.Leader || d.Rests(w.Wait) != Connecting {
			return false
		}
	}
	return true
}

func (t tongue) catalogSQL() string {
	origins := `0`
	if t.grants.Progress {
		origins = `(SELECT count(*) FROM pg_show_replication_origin_status())`
	}
	return `SELECT jsonb_build_object(
	'subscriptions', ` + t.Subscriptions(t.grants) + `,
	'slots', ` + postgres.SlotsJSON + `,
	'marks', ` + postgres.MarksJSON + `,
	'made', ` + postgres.MadeJSON + `,
	'slots_used', (SELECT count(*) FROM pg_replication_slots),
	'senders_used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
	'origins_used', ` + origins + `)`
}

// subscriptions reads the node's subscriptions afresh.
func (e *Engine) subscriptions(ctx context.Context, s *postgres.Server) ([]Subscription, error) {
	t, err := e.tongue(ctx, s)
	if err != nil {
		return nil, err
	}
	var subs []Subscription
	err = s.JSON(ctx, &subs, "SELECT "+t.Subscriptions(t.grants))
	return subs, err
}

// byID reads one subscription afresh; false when it is gone.
func (e *Engine) byID(ctx context.Context, s *postgres.Server, id uint32) (Subscription, bool, error) {
	subs, err := e.subscriptions(ctx, s)
	for _, sub := range subs {
		if sub.ID == id {
			return sub, true, nil
		}
	}
	return Subscription{}, false, err
}

// reading finds the node's Subscription to the provider, afresh.
func (e *Engine) reading(ctx context.Context, node, provider string) (*postgres.Server, Subscription, error) {
	s, err := e.server(node)
	if err != nil {
		return nil, Subscription{}, err
	}
	subs, err := e.subscriptions(ctx, s)
	if err != nil {
		return nil, Subscription{}, err
	}
	for _, sub := range subs {
		if e.providers.of(node, sub) == provider {
			return s, sub, nil
		}
	}
	return nil, Subscription{}, &topology.Fault{
		Class: topology.Transient, Code: "no_subscription", Node: node,
		Hint: "create the subscription, or let Healer's role read pg_subscription.subconninfo",
		Err:  fmt.Errorf("no subscription is known to read from %s", provider),
	}
}
