package native

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// LinkOf returns how the node's subscription to the provider reads from it; false
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
	s, err := e.server(node)
	if err != nil {
		return nil, err
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
	s, err := e.server(node)
	if err != nil {
		return 0, err
	}
	quoted := make([]string, len(l.Publications))
	for i, p := range l.Publications {
		quoted[i] = postgres.Ident(p)
	}
	err = s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		if replace != 0 {
			if err := dropSubscription(ctx, tx, s, replace); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "CREATE SUBSCRIPTION "+postgres.Ident(l.Name)+" CONNECTION "+literal(l.ConnInfo)+
			" PUBLICATION "+strings.Join(quoted, ", ")+
			" WITH (enabled = false, create_slot = false, copy_data = false, origin = none, slot_name = "+literal(l.Slot)+")", postgres.Simple)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT oid::bigint FROM pg_subscription WHERE subname = $1
			AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`, l.Name).Scan(&id)
	})
	if err != nil || from == 0 {
		return id, err
	}
	// Not within the transaction: the position would not be taken back with it.
	return id, s.Exec(ctx, "SELECT pg_replication_origin_advance($1, $2::pg_lsn)", originName(id), from.String())
}

// Enable lets a subscription of that oid run.
func (e *Engine) Enable(ctx context.Context, node string, id uint32) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	return s.Tx(ctx, []string{postgres.LockWait}, func(tx postgres.Tx) error {
		now, err := lookup(ctx, tx, s, id)
		if err != nil || now.enabled {
			return err
		}
		_, err = tx.Exec(ctx, "ALTER SUBSCRIPTION "+postgres.Ident(now.name)+" ENABLE")
		return err
	})
}

// literal quotes a string constant.
func literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}
