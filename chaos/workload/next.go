package workload

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"healer/chaos/history"
)

// next runs one transaction and records it. It is not broken off when ctx ends: what is
// broken off is unknown.
func (c *client) next(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.OpLimit)
	defer cancel()
	kind := kindOpen
	if c.opened {
		kind = c.kind()
	}
	t := c.begin(kind)
	do, claims := c.plan(t, kind)
	var err error
	t.Outcome, err = t.perform(ctx, do)
	t.entered()
	if err != nil {
		t.Error = err.Error()
	}
	c.board.give(&t.Transaction, claims, t.written())
	if t.Outcome == history.Unknown {
		c.doubt = &doubt{transaction: t, on: c.backend, phases: errors.Is(err, errInDoubt)}
		if c.doubt.phases {
			return // it is recorded when it is settled
		}
	}
	c.record(t)
}

// begin makes the next transaction.
func (c *client) begin(kind string) *transaction {
	c.sequence++
	return &transaction{conn: c.conn, keyed: c.keyed, Transaction: history.Transaction{
		ID: history.TransactionID(c.node.Name, c.number, c.sequence), Node: c.node.Name, Client: c.number,
		Sequence: c.sequence, Began: c.since(), Kind: kind, Entries: 2 + c.dice.IntN(2),
	}}
}

// record closes a transaction.
func (c *client) record(t *transaction) {
	t.Ended = c.since()
	if t.Outcome == history.Failed {
		t.Operations = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, t.Transaction)
}

// kind chooses what comes next.
func (c *client) kind() string {
	at := c.dice.IntN(100)
	for _, r := range c.opts.Rates.table() {
		if at -= r.rate; at < 0 {
			return r.kind
		}
	}
	return kindTransfer
}

// plan says what a transaction of the kind does, and which rows it has claimed.
func (c *client) plan(t *transaction, kind string) (body, []claim) {
	switch kind {
	case kindOpen:
		return open, nil
	case kindChange, kindCollide:
		claims := c.claim(kind)
		if c.dice.IntN(3) == 0 {
			return both(c.change(claims), c.scraps(false)), claims
		}
		return c.change(claims), claims
	case kindLarge:
		t.Entries = c.opts.LargeRows
		if c.keyed && c.sequence%2 == 0 {
			return nothing, nil // then it can be copied
		}
		return c.transfer, nil
	case kindPrepared:
		t.prepare, t.withdraw = true, c.dice.IntN(4) == 0
		claims := c.claim(kindChange)
		return both(c.transfer, c.change(claims)), claims
	case kindTruncate:
		return both(c.transfer, c.scraps(true)), nil
	case kindRead:
		t.Entries = 0
		return read, nil
	case kindRollback:
		if c.dice.IntN(2) == 0 {
			return both(partly(c.transfer), c.transfer), nil
		}
		claims := c.claim(kindChange)
		return wholly(both(c.transfer, c.change(claims))), claims
	default:
		return c.transfer, nil
	}
}

// Of how many rows one is left alone behind a write, and of those that were written over
// a lost node's.
const (
	leftOf          = 10
	leftOfColliding = 3
)

func (c *client) claim(kind string) []claim {
	var claims []claim
	of := leftOfColliding
	if kind == kindCollide {
		claims = c.board.collide(c.node.Name, c.since(), c.dice)
	}
	if claims == nil {
		of, claims = leftOf, c.board.take(c.node.Name, 1+c.dice.IntN(3), c.dice)
	}
	for i := range claims {
		claims[i].last = c.dice.IntN(of) == 0
	}
	return claims
}

// change writes the claimed rows.
func (c *client) change(claims []claim) body {
	return func(ctx context.Context, t *transaction) error {
		for _, cl := range claims {
			var n int
			var err error
			v := c.dice.IntN(1_000_000)
			switch cl.op {
			case history.Insert:
				n, err = t.exec(ctx, `insert into `+Namespace+`.item values ($1, $2, $3, $4)`, cl.item.key, v, t.ID, c.pad(t.ID))
			case history.Delete:
				n, err = t.exec(ctx, `delete from `+Namespace+`.item where id = $1`, cl.item.key)
			default:
				n, err = t.update(ctx, cl, v, c.pad(t.ID))
			}
			if err != nil {
				return err
			}
			if n > 0 {
				t.Operations = append(t.Operations, history.Operation{
					Kind: cl.op, Table: "item", Key: strconv.FormatInt(cl.item.key, 10), Value: strconv.Itoa(v), Collides: cl.over,
					Wide: cl.op == history.Insert || cl.op == history.Update && cl.over != "",
				})
			}
		}
		return nil
	}
}

// update leaves the wide column alone, which is then not sent, unless it collides: a
// node with another version of the row would keep its own.
func (t *transaction) update(ctx context.Context, cl claim, v int, pad string) (int, error) {
	if cl.over != "" {
		return t.exec(ctx, `update `+Namespace+`.item set v = $2, tx = $3, pad = $4 where id = $1`, cl.item.key, v, t.ID, pad)
	}
	return t.exec(ctx, `update `+Namespace+`.item set v = $2, tx = $3 where id = $1`, cl.item.key, v, t.ID)
}

// pad begins with the transaction that writes it, and is now and then so wide that it is
// kept outside of the row.
func (c *client) pad(id string) string {
	n := 1
	if c.dice.IntN(8) == 0 {
		n = 300
	}
	b := fmt.Appendf(make([]byte, 0, 64+16*n), "%s ", id)
	for range n {
		b = fmt.Appendf(b, "%016x", c.dice.Uint64())
	}
	return string(b)
}

// written are the rows of the table item that the transaction has changed.
func (t *transaction) written() map[int64]bool {
	out := map[int64]bool{}
	for _, o := range t.Operations {
		if o.Table == "item" {
			if key, err := strconv.ParseInt(o.Key, 10, 64); err == nil {
				out[key] = true
			}
		}
	}
	return out
}
