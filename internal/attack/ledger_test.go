package attack

import (
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"

	"healer/topology"
)

// ledger is what a node's log has of each author's transactions, in the order of
// the log. Authors are nodes; what no node stands for is under its origin's name.
type ledger map[string][]transaction

// ends are the ends of all nodes' logs.
func (l *lab) ends() map[string]topology.LSN {
	l.Helper()
	at := map[string]topology.LSN{}
	for _, n := range l.m.Names() {
		at[n] = l.flushed(n)
	}
	return at
}

// ledger reads what the node has committed of each author behind its end then. It
// takes the messages from the slot, so that it can be read once.
func (l *lab) ledger(node string, since map[string]topology.LSN) ledger {
	l.Helper()
	authors := l.authors(node)
	out := ledger{}
	var tx transaction
	var author string
	var origin topology.LSN
	for _, m := range l.messages(node, allSlot, "any") {
		switch m := m.(type) {
		case *pglogrepl.BeginMessage:
			tx, author, origin = transaction{Time: m.CommitTime}, node, 0
		case *pglogrepl.OriginMessage:
			author, origin = m.Name, topology.LSN(m.CommitLSN)
			if n, ok := authors[m.Name]; ok {
				author = n
			}
		case *pglogrepl.InsertMessage, *pglogrepl.UpdateMessage, *pglogrepl.DeleteMessage:
			tx.Changes++
		case *pglogrepl.CommitMessage:
			if author == node {
				origin = topology.LSN(m.TransactionEndLSN)
			}
			if origin > since[author] {
				tx.LSN = origin.String()
				out[author] = append(out[author], tx)
			}
		}
	}
	return out
}

// everywhere checks that what each author has committed of its own stands in the
// log of every other node, once, in its order and with its times; that nothing else
// does; and that all rows are equal, with the times at which they were written.
func (l *lab) everywhere(since map[string]topology.LSN, tables ...string) {
	l.Helper()
	names := l.m.Names()
	truth, ledgers := ledger{}, map[string]ledger{}
	for _, n := range names {
		ledgers[n] = l.ledger(n, since)
		if own, ok := ledgers[n][n]; ok {
			truth[n] = own
		}
	}
	if len(truth) == 0 {
		l.Error("no log has any transaction: nothing was compared")
	}
	for _, n := range names {
		if diff := cmp.Diff(truth, ledgers[n]); diff != "" {
			l.Errorf("transactions of each author on itself (-) and on %s (+):\n%s", n, diff)
		}
		for _, t := range tables {
			if diff := cmp.Diff(l.rows(names[0], t, true), l.rows(n, t, true)); diff != "" {
				l.Errorf("table %s on %s (-) and on %s (+):\n%s", t, names[0], n, diff)
			}
		}
	}
}
