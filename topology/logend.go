package topology

import (
	"fmt"
	"time"
)

// LogEnd is how far a node is known to have flushed its log
// (pg_current_wal_flush_lsn).
type LogEnd struct {
	// Identity is the server's whose log it is.
	Identity Identity `json:"identity"`
	Flushed  LSN      `json:"flushed"`
	// At is when it was read, by the clock of whoever keeps it.
	At time.Time `json:"at"`
}

// SameLog reports whether both are positions in one log: one server's, on one
// timeline. Positions of other logs cannot be compared.
func (e LogEnd) SameLog(o LogEnd) bool {
	return e.Identity.SystemID == o.Identity.SystemID && e.Identity.Timeline == o.Identity.Timeline
}

// Unsent is what a lost node had written and no survivor is known to have. All
// of it is zero where nobody asked.
type Unsent struct {
	// UnsentBytes is how many bytes of the lost node's log no survivor is known to
	// have: what they hold is on that node only, until it returns. It is at most
	// that much, for the log holds more than is replicated; and it counts up to the
	// last position that was heard of, at UnsentAsOf. Absent while it is not known.
	UnsentBytes *int64 `json:"unsent_bytes,omitempty"`
	// UnsentUnknown says why UnsentBytes is not known.
	UnsentUnknown string `json:"unsent_unknown,omitempty"`
	// UnsentAsOf is when the end of the lost node's log was last heard of.
	UnsentAsOf time.Time `json:"unsent_as_of,omitzero"`
}

// UnsentText says it of a node to an operator; empty where nobody asked.
func (u Unsent) UnsentText(node string) string {
	asOf := ""
	if !u.UnsentAsOf.IsZero() {
		asOf = ", by its log as of " + u.UnsentAsOf.UTC().Format("2006-01-02 15:04:05.000Z")
	}
	switch {
	case u.UnsentUnknown != "":
		return fmt.Sprintf("how much is only on %s is not known: %s", node, u.UnsentUnknown)
	case u.UnsentBytes == nil:
		return ""
	case *u.UnsentBytes == 0:
		return fmt.Sprintf("0 bytes only on %s%s", node, asOf)
	}
	return fmt.Sprintf("%s only on %s until it returns%s", SizeText(*u.UnsentBytes), node, asOf)
}
