package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"healer/postgres"
	"healer/topology"
)

// Link is how a subscription reads from its provider.
type Link struct {
	// Name and Slot are the subscription's and its slot's at the provider.
	Name, Slot string
	// ConnInfo may hold a password: it is never shown.
	ConnInfo     string
	Publications []string
}

// LinkOf returns how the node's Subscription to the provider reads from it; false
// when there is none, or its connection string cannot be read.
func (e *Engine) LinkOf(ctx context.Context, node, provider string) (Link, bool, error) {
	_, sub, err := e.reading(ctx, node, provider)
	var fault *topology.Fault
	if errors.As(err, &fault) && fault.Code == "no_subscription" {
		return Link{}, false, nil
	}
	return Link{Name: sub.Name, Slot: sub.Slot, ConnInfo: sub.ConnInfo, Publications: sub.Publications}, err == nil && sub.ConnInfo != "", err
}

// Published lists what the publications of a node send; a publication that does
// not exist is a fault ("no_publication").
func (e *Engine) Published(ctx context.Context, node string, publications []string) ([]Replica, error) {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return nil, err
	}
	if !t.Decodable() {
		return nil, Unsupported(t.Name(), "join a node again", "join it by hand, as the engine's own documentation has it")
	}
	var there []string
	const sql = `SELECT coalesce(jsonb_agg(pubname), '[]') FROM pg_publication WHERE pubname = ANY ($1)`
	if err := s.JSON(ctx, &there, sql, publications); err != nil {
		return nil, err
	}
	for _, p := range publications {
		if !slices.Contains(there, p) {
			return nil, &topology.Fault{
				Class: topology.Permanent, Code: "no_publication", Node: node,
				Hint: "on " + node + ": CREATE PUBLICATION " + postgres.Ident(p) + " FOR ..., as on the other nodes",
				Err:  fmt.Errorf("there is no publication %q", p),
			}
		}
	}
	lines, err := readPublished(ctx, s, publications)
	if err != nil {
		return nil, err
	}
	var out []Replica
	for _, l := range lines {
		if len(out) > 0 && out[len(out)-1].TableName == l.TableName {
			continue // the lines are in the order of tables
		}
		if r, ok := lines.replica(l.TableName); ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// Join makes the subscription, disabled, without a slot and without copying, and
// sets its progress: everything of the provider up to from is there already. It
// returns the subscription's oid. With replace, the subscription of that oid goes
// in the same transaction, with its fence marks.
func (e *Engine) Join(ctx context.Context, node string, l Link, from topology.LSN, replace uint32) (id uint32, err error) {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return 0, err
	}
	create, err := t.Create(l)
	if err != nil {
		return 0, err
	}
	err = s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		if replace != 0 {
			if err := dropSubscription(ctx, tx, s, t, replace); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, create, postgres.Simple)
		return err
	})
	if err != nil {
		return 0, err
	}
	subs, err := e.subscriptions(ctx, s)
	if err != nil {
		return 0, err
	}
	at := slices.IndexFunc(subs, func(sub Subscription) bool { return sub.Name == l.Name })
	if at < 0 {
		return 0, topology.Faultf(topology.Transient, "no_subscription", "%s: subscription %q has gone since it was made", node, l.Name)
	}
	if from == 0 {
		return subs[at].ID, nil
	}
	// Not within the transaction: the position would not be taken back with it.
	return subs[at].ID, s.Exec(ctx, "SELECT pg_replication_origin_advance($1, $2::pg_lsn)", subs[at].Origin, from.String())
}

// Enable lets a subscription of that oid run.
func (e *Engine) Enable(ctx context.Context, node string, id uint32) error {
	s, t, err := e.at(ctx, node)
	if err != nil {
		return err
	}
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		now, err := lookup(ctx, tx, s, t, id)
		if err != nil || now.enabled {
			return err
		}
		_, err = tx.Exec(ctx, t.Enable(now.name))
		return err
	})
}
