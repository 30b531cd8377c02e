package wire

import "healer/topology"

// Kind is the byte that says what a message is.
type Kind byte

// The kinds of the native format, src/spock_proto_native.c.
const (
	// Startup is the first message of a stream, before all else.
	Startup Kind = 'S'
	Begin   Kind = 'B'
	// Origin follows each Begin: whose transaction it is.
	Origin Kind = 'O'
	// CommitOrder follows each Origin; it serves Spock's groups of slots.
	CommitOrder Kind = 'L'
	Relation    Kind = 'R'
	Insert      Kind = 'I'
	Update      Kind = 'U'
	Delete      Kind = 'D'
	Truncate    Kind = 'T'
	Commit      Kind = 'C'
	// Text is a logical message of Spock's own, such as spock.sync_event makes.
	Text Kind = 'M'
)

// Message is one message; which fields are set depends on its kind. What it refers
// to is valid until the next one is decoded.
type Message struct {
	Kind Kind
	// Written is the provider's write position when it sent the message; 0 when the
	// message has none.
	Written topology.LSN
	// LSN is the start of the commit record for Begin and Commit, the author's commit
	// end LSN for Origin (0 for the provider's own), the message's for Text.
	LSN topology.LSN
	// End is the end of a transaction, in Commit.
	End topology.LSN
	// Time is a commit time in microseconds since 2000-01-01 UTC: of Begin and
	// Commit; of the transaction before in CommitOrder, 0 when it is not known.
	Time int64
	XID  uint32
	// Node is the author's id in Origin: 16 bits of a hash of the node's name
	// (create_node in src/spock_node.c). After a recovery by Healer it may be the
	// roident of the subscription's origin instead.
	Node uint16
	// Name is the author's name in Origin, as far as the provider knows it and says
	// so; the prefix of a Text.
	Name string
	// Params are the startup message's.
	Params map[string]string
	// Table is what a Relation describes.
	Table *Table
	// Rel is the table of a row change, Rels those of a Truncate.
	Rel  uint32
	Rels []uint32
	// Cascade and Restart are the options of a Truncate.
	Cascade, Restart bool
	// Old has the old key or row, nil when none was sent; New the new row.
	Old, New Row
	// Body is the body of a Text, Transactional whether it is part of a transaction.
	Body          []byte
	Transactional bool
}

// Table is a table as the provider describes it before the first change of it, and
// again when it has changed.
type Table struct {
	ID      uint32
	Name    topology.TableName
	Columns []Column
}

// Keyed reports whether a column is of the replica identity. That of a table with
// REPLICA IDENTITY FULL has no index, and none of its columns is marked
// (INDEX_ATTR_BITMAP_IDENTITY_KEY).
func (t *Table) Keyed() bool {
	for _, c := range t.Columns {
		if c.Key {
			return true
		}
	}
	return false
}

// Column is one that is sent: generated and dropped ones are not.
type Column struct {
	Name string
	// Key is set for the columns of the replica identity's index.
	Key bool
	// Type and Modifier are pg_attribute.atttypid and atttypmod.
	Type     uint32
	Modifier int32
}

// Format is how a value travels.
type Format byte

// The formats, spock_write_tuple in src/spock_proto_native.c.
const (
	Null Format = 'n'
	// Unchanged is a TOASTed value that the update left as it was.
	Unchanged Format = 'u'
	// InText is the type's output, without the NUL that ends it on the way.
	InText Format = 't'
	// InBinary is what the type's send function makes, InMemory the server's own
	// image. Both come only to who asks for them.
	InBinary Format = 'b'
	InMemory Format = 'i'
)

// Value is one column's value.
type Value struct {
	Format Format
	// Data is nil for Null and Unchanged.
	Data []byte
}

// Row is a row in the column order of its table.
type Row []Value
