package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

// maxIncoming bounds how many rows of one table are looked at in one transaction, of those
// that it creates, and of those that get a unique value by it.
const maxIncoming = 10_000

// incoming is a transaction that a survivor is still to receive.
type incoming struct {
	// at is its commit timestamp.
	at     int64
	tables []*incomingTable
}

// incomingTable is what the transaction does to a table of the receiver's.
type incomingTable struct {
	b *binding
	// uniques are the receiver's unique indexes besides the key.
	uniques []otherUnique
	// creates are the keys of rows that come to be, takes those that get values which the
	// other indexes keep apart.
	creates []Key
	takes   []take
	// changes counts those so far, touched has by each row the first of them: what was
	// there of a row is not in the way of what comes behind.
	changes int
	touched map[string]int
}

// otherUnique is a unique index that does not identify the rows of a stream; at has the
// position of each of its columns in a tuple there.
type otherUnique struct {
	columns []keyColumn
	at      []int
}

// take is a row that gets unique values by one change.
type take struct {
	key    Key
	change int
	// values are those of each of the table's uniques, nil where nothing can meet them or
	// they are not sent.
	values []Key
}

// intake reads a survivor's stream for another one.
type intake struct {
	stream *Stream
	// to is the one that is to receive it.
	to    *survivor
	rels  map[uint32]*relation
	bound map[uint32]*receiving
}

// receiving is a table of the receiver's.
type receiving struct {
	b       *binding
	uniques []otherUnique
}

// next returns the first transaction of the provider's own that changes rows: whatever
// comes behind one that fails has not been tried yet. Nil when there is none. What the
// provider has only applied, it does not send.
func (in *intake) next(ctx context.Context) (*incoming, error) {
	in.rels, in.bound = map[uint32]*relation{}, map[uint32]*receiving{}
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
		case msgOrigin:
			foreign = m.origin != ""
		case msgRelation:
			in.rels[m.rel.id] = m.rel
			delete(in.bound, m.rel.id)
		case msgInsert, msgUpdate, msgDelete, msgTruncate:
			if changes++; foreign || tx == nil || m.kind == msgTruncate {
				continue
			}
			r, err := in.bind(ctx, m.relID)
			if err != nil {
				return nil, err
			}
			if r != nil {
				tx.table(r).change(m)
			}
		case msgCommit:
			if changes > 0 && !foreign {
				return tx, nil
			}
		case msgType, msgMessage:
		}
	}
}

// table is the transaction's entry for a table.
func (tx *incoming) table(r *receiving) *incomingTable {
	i := slices.IndexFunc(tx.tables, func(t *incomingTable) bool { return t.b == r.b })
	if i < 0 {
		i = len(tx.tables)
		tx.tables = append(tx.tables, &incomingTable{b: r.b, uniques: r.uniques, touched: map[string]int{}})
	}
	return tx.tables[i]
}

// change takes in one change of the transaction.
func (t *incomingTable) change(m message) {
	t.changes++
	key, comes := t.b.keyOf(m.new)
	old, was := t.b.keyOf(m.old)
	moved := m.kind == msgUpdate && was && comes && old.encode() != key.encode()
	if comes {
		_, known := t.touched[key.encode()]
		if (m.kind == msgInsert || moved) && !known && len(t.creates) < maxIncoming {
			t.creates = append(t.creates, key)
		}
		if values := t.valuesOf(m.new); values != nil && len(t.takes) < maxIncoming {
			t.takes = append(t.takes, take{key: key, change: t.changes, values: values})
		}
		t.touch(key)
	}
	if was {
		t.touch(old)
	}
}

func (t *incomingTable) touch(key Key) {
	if id := key.encode(); t.touched[id] == 0 {
		t.touched[id] = t.changes
	}
}

// valuesOf takes the values of the other unique indexes out of a row of the stream; nil
// when it has none.
func (t *incomingTable) valuesOf(row tuple) (out []Key) {
	for i, u := range t.uniques {
		values := u.valuesOf(row)
		if values != nil && out == nil {
			out = make([]Key, len(t.uniques))
		}
		if values != nil {
			out[i] = values
		}
	}
	return out
}

// valuesOf takes the index's values out of a row of the stream; nil when one is NULL, or
// not there.
func (u otherUnique) valuesOf(row tuple) Key {
	out := make(Key, len(u.at))
	for i, at := range u.at {
		if at >= len(row) || row[at].kind != datumText {
			return nil
		}
		out[i] = string(row[at].text)
	}
	return out
}

// meets reports whether a row of the receiver's that has the values may be in the way of
// the one that gets them: not when it is the same, or was changed before.
func (t *incomingTable) meets(of take, key Key) bool {
	first, touched := t.touched[key.encode()]
	return !slices.Equal(key, of.key) && (!touched || first > of.change)
}

// bind finds the receiver's table; nil when it has none whose rows have a key there.
func (in *intake) bind(ctx context.Context, id uint32) (*receiving, error) {
	if r, known := in.bound[id]; known {
		return r, nil
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
	b, err := bind(in.to.node, rel, tab)
	if err != nil || b.whole {
		return nil, nil //nolint:nilerr,nilnil // its worker fails at that, and not at a row
	}
	indexes, err := readIndexes(ctx, in.to.conn, uniquesQuery, rel.table)
	if err != nil {
		return nil, in.to.wrap(err)
	}
	in.bound[id] = &receiving{b: b, uniques: b.otherUniques(indexes)}
	return in.bound[id], nil
}

// otherUniques are those of the indexes that are not on the key, and whose columns all
// are sent.
func (b *binding) otherUniques(indexes []uniqueIndex) (out []otherUnique) {
	for _, x := range indexes {
		names := make([]string, len(x.columns))
		for i, c := range x.columns {
			names[i] = c.name
		}
		at := b.positions(x.columns, false)
		if at != nil && permutation(b.keyColumns(), names) == nil {
			out = append(out, otherUnique{columns: x.columns, at: at})
		}
	}
	return out
}
