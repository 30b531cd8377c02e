package rescue

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// Peer is a survivor to compare.
type Peer struct {
	Node string
	// Conn is an open connection to the survivor's database. Verify changes its
	// settings and uses it alone while it runs; it stays the caller's to close.
	Conn *pgconn.PgConn
	// Authors maps the names of the node's replication origins to nodes.
	Authors map[string]string
}

// Policy bounds a verification. A zero field means the default.
type Policy struct {
	// Rounds is how often a row that is being written may be read again
	// before the verification gives up as unsettled: 20 by default.
	Rounds int
	// Repairs is how often one row may be repaired: 3 by default.
	Repairs int
	// Batch is the number of rows read at once: 500 by default.
	Batch int
	// ReportOnly compares and repairs nothing: what differs is a Fault.
	ReportOnly bool
}

// VerifyReport is what a verification found.
type VerifyReport struct {
	// Rows is the number of touched keys that were compared, Differing how many
	// of them were truly divergent, Repaired how many were made equal.
	Rows      int64 `json:"rows"`
	Differing int64 `json:"differing"`
	Repaired  int64 `json:"repaired"`
	// Tables has the tables that were compared, sorted by name.
	Tables []VerifyTable `json:"tables,omitempty"`
}

// VerifyTable is the part of one table.
type VerifyTable struct {
	Table     string `json:"table"`
	Rows      int64  `json:"rows"`
	Differing int64  `json:"differing"`
	Repaired  int64  `json:"repaired"`
}

// Barrier returns when every survivor has applied what every other survivor had
// committed when it was called.
type Barrier func(ctx context.Context) error

// Verify compares every touched row on all peers and repairs what differs by
// last update wins. It fails with a permanent Fault "diverged" that names the
// keys which still differ, and with a transient Fault "unsettled" when rows are
// written faster than they can be compared.
func Verify(ctx context.Context, peers []Peer, touched []*Touched, barrier Barrier, policy Policy) (VerifyReport, error) {
	return VerifyReport{}, errors.New("verification is not there yet")
}
