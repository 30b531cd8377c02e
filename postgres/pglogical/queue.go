package pglogical

import (
	"fmt"

	"healer/postgres/engine"
)

// The types of messages in pglogical.queue, as pglogical_queue.h has them.
const (
	queuedSQL       = "Q"
	queuedTruncate  = "T"
	queuedTableSync = "A"
	queuedSequence  = "S"
)

// Command reads a row of pglogical.queue. The source has done what it says, under the
// origin of who queued it: rows that came of it, and a TRUNCATE, are in the source's log and
// are carried from there. The value of a sequence is in no log that is decoded, and is
// set. DDL is not done: how the laggard's tables are is its owner's to say.
func (Dialect) Command(row map[string]string, sets []string) engine.Command {
	if !engine.Concerns(row["replication_sets"], sets) {
		return engine.Command{}
	}
	switch kind := row["message_type"]; kind {
	case queuedTruncate:
		return engine.Command{}
	case queuedSequence:
		return engine.SetSequence(row["message"])
	case queuedSQL:
		return engine.Command{
			Stop: fmt.Sprintf("it runs, as role %s: %s", row["role"], engine.StatementOf(row["message"])),
			By:   "run that there, without what it does to rows: those are carried",
		}
	case queuedTableSync:
		return engine.Command{
			Stop: "it has a table copied anew: " + row["message"],
			By:   "copy the table from another survivor, and remove it from and add it to the subscription",
		}
	default:
		return engine.UnknownMessage(kind, row["message"])
	}
}
