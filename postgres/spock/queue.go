package spock

import (
	"fmt"

	"healer/postgres/engine"
	"healer/topology"
)

// The types of messages in spock.queue, include/spock_queue.h. TRUNCATE is none of them:
// it is a message of the log.
const (
	queuedSQL       = "Q"
	queuedDDL       = "D"
	queuedTableSync = "A"
	queuedSequence  = "S"
)

// Queue is spock.queue. A subscriber keeps the rows that it gets, and does what they ask
// for (handle_insert in src/spock_apply.c): they are in the source's log.
func (Dialect) Queue() topology.TableName { return topology.TableName{Schema: "spock", Name: "queue"} }

// Command reads a row of spock.queue. The source has done what it says, under the origin of
// who queued it: rows that came of it are in the source's log and are carried from there.
// The value of a sequence is in no log that is decoded, and is set. DDL is not done: how the
// laggard's tables are is its owner's to say.
func (Dialect) Command(row map[string]string, sets []string) engine.Command {
	if !engine.Concerns(row["replication_sets"], sets) {
		return engine.Command{}
	}
	switch kind := row["message_type"]; kind {
	case queuedSequence:
		return engine.SetSequence(row["message"])
	case queuedSQL, queuedDDL:
		return engine.Command{
			Stop: fmt.Sprintf("it runs, as role %s: %s", row["role"], engine.StatementOf(row["message"])),
			By:   "run that there with spock.enable_ddl_replication off, without what it does to rows: those are carried",
		}
	case queuedTableSync:
		return engine.Command{
			Stop: "it has a table copied anew: " + row["message"],
			By:   "copy the table from another survivor",
		}
	default:
		return engine.UnknownMessage(kind, row["message"])
	}
}
