package attack

import (
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"healer/internal/localpg"
	"healer/topology"
)

// transaction is one of the lost node, as a node has committed it.
type transaction struct {
	LSN     string
	Time    time.Time
	Changes int
}

// committed lists what the node's log has of the gap, in the order of the log.
func (l *lab) committed(node string, g gap) []transaction {
	l.Helper()
	origin := l.origin(node, lost)
	var out []transaction
	var at time.Time
	mine := false
	for _, m := range l.messages(node, allSlot, "any") {
		switch m := m.(type) {
		case *pglogrepl.BeginMessage:
			at, mine = m.CommitTime, false
		case *pglogrepl.OriginMessage:
			lsn := topology.LSN(m.CommitLSN)
			if mine = m.Name == origin && lsn > g.Floor; mine {
				out = append(out, transaction{LSN: lsn.String(), Time: at})
			}
		case *pglogrepl.InsertMessage, *pglogrepl.UpdateMessage, *pglogrepl.DeleteMessage:
			if mine {
				out[len(out)-1].Changes++
			}
		}
	}
	return out
}

// messages takes from a slot what was committed since the last time.
func (l *lab) messages(node, slot, origin string) []pglogrepl.Message {
	l.Helper()
	l.flushed(node)
	rows, err := l.conn(node).Query(l.Context(), `select data from pg_logical_slot_get_binary_changes('`+slot+`', null, null,
		'proto_version', '1', 'publication_names', '`+localpg.Publication+`', 'origin', '`+origin+`')`)
	l.must(err)
	raw, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	l.must(err)
	out := make([]pglogrepl.Message, len(raw))
	for i, b := range raw {
		out[i], err = pglogrepl.Parse(b)
		l.must(err)
	}
	return out
}

// same compares each row with its commit timestamp and its author.
func (l *lab) same(g gap, what string) {
	l.Helper()
	for _, t := range g.Tables {
		if diff := cmp.Diff(l.rows(source, t.Name, true), l.rows(laggard, t.Name, true)); diff != "" {
			l.Errorf("%s: table %s on the source (-) and on the laggard (+):\n%s", what, t, diff)
		}
	}
}

// rows are a table's rows, with what PostgreSQL knows of who wrote them when.
func (l *lab) rows(node, table string, stamped bool) []string {
	l.Helper()
	stamp := ""
	if stamped {
		stamp = ` || ' ' || pg_xact_commit_timestamp(t.xmin)::text`
	}
	return strings.Split(l.text(node, `select coalesce(string_agg(md5(t::text) || ' ' || left(t::text, 60)`+stamp+`, e'\n' order by t::text), '') from `+table+` t`), "\n")
}

// clean fails the test when anything of a recovery is left.
func (l *lab) clean(what string) {
	l.Helper()
	for _, n := range []string{source, laggard} {
		for _, sql := range []string{
			`select count(*) from pg_locks where locktype = 'advisory'`,
			`select count(*) from pg_replication_origin where roname like 'healer:gap:%' or roname like 'healer:fence:%'`,
			`select count(*) from pg_replication_slots where slot_name like 'attack_%_c'`,
			`select count(*) from pg_prepared_xacts`,
		} {
			l.eventually(what+": nothing is left", func() error { return l.zero(n, sql) })
		}
	}
	disabled := l.text(laggard, `select coalesce(string_agg(subname, ','), '') from pg_subscription where not subenabled`)
	if want := localpg.SubscriptionName(laggard, lost); disabled != want {
		l.Errorf("%s: disabled subscriptions: %s, want %s alone", what, disabled, want)
	}
}
