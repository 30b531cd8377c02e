package workload

import (
	"context"
	"fmt"

	"healer/chaos/history"
)

// Each node has so many accounts, and so much on each of them in the beginning.
const (
	accounts = 10
	opening  = 1000
)

// absentError: what the transaction wanted to change is not there.
type absentError struct{ what string }

func (e absentError) Error() string { return e.what + " is not there" }

// open makes the accounts of the client's node.
func open(ctx context.Context, t *transaction) error {
	_, err := t.exec(ctx, `insert into `+Namespace+`.account select $1, i, $2, $3 from generate_series(1, $4::int) i`,
		t.Node, opening, t.ID, accounts)
	for i := range accounts {
		t.did(history.Insert, "account", fmt.Sprintf("%s/%d", t.Node, i+1), fmt.Sprint(opening))
	}
	return err
}

// transfer moves a sum between two accounts of the node.
func (c *client) transfer(ctx context.Context, t *transaction) error {
	from, to := 1+c.dice.IntN(accounts), 1+c.dice.IntN(accounts-1)
	if to >= from {
		to++
	}
	amount := 1 + c.dice.IntN(50)
	// In one order, so that two clients do not wait for each other.
	parts := []struct{ id, by int }{{from, -amount}, {to, amount}}
	if from > to {
		parts[0], parts[1] = parts[1], parts[0]
	}
	for _, p := range parts {
		n, err := t.exec(ctx, `update `+Namespace+`.account set balance = balance + $3, tx = $4 where node = $1 and id = $2`,
			t.Node, p.id, p.by, t.ID)
		key := fmt.Sprintf("%s/%d", t.Node, p.id)
		if err == nil && n != 1 {
			err = absentError{"account " + key}
		}
		if err != nil {
			return err
		}
		t.did(history.Update, "account", key, "")
	}
	return nil
}

// read looks at the sums of all nodes.
func read(ctx context.Context, t *transaction) error {
	rows, err := t.conn.Query(ctx, `select node, sum(balance)::text from `+Namespace+`.account group by node order by node`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var node, sum string
		if err := rows.Scan(&node, &sum); err != nil {
			return err
		}
		t.did(history.Read, "account", node, sum)
	}
	return rows.Err()
}

// nothing leaves it at the journal.
func nothing(context.Context, *transaction) error { return nil }

// scraps writes the table that the node has for itself, or empties it.
func (c *client) scraps(empty bool) body {
	return func(ctx context.Context, t *transaction) error {
		if empty {
			_, err := t.exec(ctx, `truncate `+scrap(t.Node))
			t.did(history.Truncate, "scrap_"+t.Node, "", "")
			return err
		}
		id := t.Sequence*int64(c.opts.Clients) + int64(c.number)
		_, err := t.exec(ctx, `insert into `+scrap(t.Node)+` values ($1, $2)`, id, t.ID)
		t.did(history.Insert, "scrap_"+t.Node, fmt.Sprint(id), "")
		return err
	}
}

// partly does something else in a savepoint, and takes it back: neither the rows nor
// what it wrote into the journal may be anywhere.
func partly(do body) body {
	return func(ctx context.Context, t *transaction) error {
		if _, err := t.exec(ctx, "savepoint part"); err != nil {
			return err
		}
		if err := t.journal(ctx, 1000, 1003); err != nil {
			return err
		}
		if err := do(ctx, t); err != nil {
			return err
		}
		t.Operations = nil
		_, err := t.exec(ctx, "rollback to savepoint part")
		return err
	}
}

// wholly does something and takes it back.
func wholly(do body) body {
	return func(ctx context.Context, t *transaction) error {
		err := do(ctx, t)
		t.Operations = nil
		if err == nil {
			err = errRollback
		}
		return err
	}
}

// both does one thing after the other.
func both(first, second body) body {
	return func(ctx context.Context, t *transaction) error {
		if err := first(ctx, t); err != nil {
			return err
		}
		return second(ctx, t)
	}
}
