package rescue

import (
	"testing"

	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// TestPreparedTransactionsOfTheGap has transactions that the lost node prepared and
// then decided, through subscriptions that carry the PREPARE where the servers can
// be told so.
func TestPreparedTransactionsOfTheGap(t *testing.T) {
	l := newLabWith(t, localpg.Options{
		Nodes: 3, Links: true, Schema: []string{`create table t (id int primary key, v text)`},
		Conf: map[string]string{"max_prepared_transactions": "10"},
	}, func(l *lab) {
		if pgtest.Major(t) < 18 {
			return // two_phase is said when the subscription is made
		}
		for _, n := range l.m.Names() {
			for _, from := range l.m.Names() {
				if n == from {
					continue
				}
				sub := localpg.SubscriptionName(n, from)
				l.exec(n, `alter subscription `+sub+` disable`)
				l.eventually("the worker of "+sub+" ends", func() bool {
					return l.text(n, `select count(*)::text from pg_stat_subscription where pid is not null and subname = '`+sub+`'`) == "0"
				})
				l.eventually("two_phase is set", func() bool {
					_, err := l.m.Node(n).Exec(l.Context(), `alter subscription `+sub+` set (two_phase = true)`)
					return err == nil // the sender may still hold the slot
				})
				l.exec(n, `alter subscription `+sub+` enable`)
			}
		}
		for _, n := range l.m.Names() {
			l.eventually("two_phase is on at "+n, func() bool {
				return l.text(n, `select bool_and(subtwophasestate = 'e')::text from pg_subscription`) == "true"
			})
		}
	}, `insert into t values (1, 'seed'), (2, 'seed'), (3, 'seed')`)
	prepare := func(gid, sql string) { l.exec("n1", `begin; `+sql+`; prepare transaction '`+gid+`'`) }
	prepare("a", `insert into t values (10, 'a'); update t set v = 'a' where id = 1`)
	l.exec("n1", `insert into t values (20, 'between')`)
	prepare("b", `delete from t where id = 2`)
	prepare("c", `update t set v = 'c' where id = 3`)
	l.exec("n1", `commit prepared 'c'`)
	l.exec("n1", `rollback prepared 'b'`)
	l.exec("n1", `commit prepared 'a'`)
	l.exec("n1", `update t set v = v || ' later'`)
	l.lose()
	report, verified := l.heal()
	t.Logf("%+v\n%+v", report, verified)
	l.same("t")
	if got, want := l.text("n3", `select string_agg(id || ' ' || v, ', ' order by id) from t`),
		"1 a later, 2 seed later, 3 c later, 10 a later, 20 between later"; got != want {
		t.Errorf("table t has %s, want %s", got, want)
	}
	if report.Applied != 4 || verified.Differing != 0 {
		t.Errorf("applied %d transactions, %d rows differed", report.Applied, verified.Differing)
	}
	for _, n := range l.survivors() {
		if got := l.text(n, `select count(*)::text from pg_prepared_xacts`); got != "0" {
			t.Errorf("%s holds %s prepared transactions", n, got)
		}
	}
}
