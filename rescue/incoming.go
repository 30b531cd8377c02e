package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"healer/topology"
)

// OpenNext streams what the slot of a reader that has stopped has for it next, behind
// from, without the slot: the stream reads a temporary copy, which goes with its session.
// The connection is one for OpenStream, and opts.Slot the reader's slot.
func OpenNext(ctx context.Context, conn *pgconn.PgConn, from topology.LSN, opts StreamOptions) (*Stream, error) {
	name := "healer_next_" + strconv.FormatUint(uint64(conn.PID()), 10)
	sql := "SELECT pg_catalog.pg_copy_logical_replication_slot(" + quoteLiteral(opts.Slot) + ", " + quoteLiteral(name) + ", true)"
	if err := conn.Exec(ctx, sql).Close(); err != nil {
		return nil, fmt.Errorf("copy slot %s of %s: %w", opts.Slot, opts.Node, err)
	}
	opts.Slot, opts.from = name, from
	return OpenStream(ctx, conn, opts)
}

// maxIncoming bounds how many rows of one transaction are looked at.
const maxIncoming = 10_000

// incoming is a transaction that a survivor is still to receive.
type incoming struct {
	// at is its commit timestamp.
	at int64
	// rows come to be by it, each with its table, in their order.
	rows []incomingRow
}

type incomingRow struct {
	b   *binding
	key Key
}

// intake reads a survivor's stream for another one.
type intake struct {
	stream *Stream
	// to is the one that is to receive it.
	to    *survivor
	rels  map[uint32]*relation
	bound map[uint32]*binding
	// before are the rows that the transaction has changed or deleted so far: what is
	// there of them is not in its way.
	before map[*binding]map[string]bool
}

// next returns the first transaction of the provider's own that creates rows, before the
// first that does not: whatever comes behind one that fails has not been tried yet. Nil
// when there is none. What the provider has only applied, it does not send.
func (in *intake) next(ctx context.Context) (*incoming, error) {
	in.rels, in.bound = map[uint32]*relation{}, map[uint32]*binding{}
	var tx *incoming
	changes, foreign := 0, false
	for {
		m, err := in.stream.next(ctx)
		if errors.Is(err, io.EOF) {
			return nil, nil //nolint:nilnil // nothing to come is an answer
		}
		if err != nil {
			return nil, err
		}
		switch m.kind {
		case msgBegin:
			tx, changes, foreign = &incoming{at: m.time}, 0, false
			in.before = map[*binding]map[string]bool{}
		case msgOrigin:
			foreign = m.origin != ""
		case msgRelation:
			in.rels[m.rel.id] = m.rel
			delete(in.bound, m.rel.id)
		case msgInsert, msgUpdate, msgDelete, msgTruncate:
			if changes++; foreign || tx == nil || len(tx.rows) == maxIncoming {
				continue
			}
			if err := in.change(ctx, tx, m); err != nil {
				return nil, err
			}
		case msgCommit:
			if changes > 0 && !foreign {
				return tx, nil
			}
		case msgType, msgMessage:
		}
	}
}

// change takes in one change of the transaction.
func (in *intake) change(ctx context.Context, tx *incoming, m message) error {
	if m.kind == msgTruncate {
		return nil
	}
	b, err := in.bind(ctx, m.relID)
	if err != nil || b == nil {
		return err
	}
	if in.before[b] == nil {
		in.before[b] = map[string]bool{}
	}
	before := in.before[b]
	key, comes := b.keyOf(m.new)
	old, was := b.keyOf(m.old)
	moved := m.kind == msgUpdate && was && comes && old.encode() != key.encode()
	switch {
	case comes && (m.kind == msgInsert || moved) && !before[key.encode()]:
		tx.rows = append(tx.rows, incomingRow{b: b, key: key})
	case comes:
		before[key.encode()] = true
	}
	if was {
		before[old.encode()] = true
	}
	return nil
}

// bind finds the receiver's table; nil when it has none whose rows have a key there.
func (in *intake) bind(ctx context.Context, id uint32) (*binding, error) {
	if b, known := in.bound[id]; known {
		return b, nil
	}
	in.bound[id] = nil
	rel := in.rels[id]
	if rel == nil {
		return nil, in.stream.malformed(fmt.Errorf("a change of relation %d, which it has not described", id))
	}
	tab, err := readTable(ctx, in.to.conn, rel.table)
	if err != nil {
		return nil, in.to.wrap(err)
	}
	if b, err := bind(in.to.node, rel, tab); err == nil && !b.whole {
		in.bound[id] = b
	}
	return in.bound[id], nil
}
