package nodes_test

import (
	"testing"

	"healer/events"
	"healer/internal/localpg"
)

// Of a mesh of pglogical a dead node goes with all that the survivors have of it; a
// rebuild, which no copy of pglogical's can be told to leave to Healer, is refused by name.
func TestDropOfPglogical(t *testing.T) {
	t.Parallel()
	l := newLabOf(t, localpg.Options{Engine: localpg.Pglogical, Schema: []string{
		"CREATE TABLE account (id bigint PRIMARY KEY, owner text NOT NULL, amount bigint)",
	}})
	l.exec("n1", "INSERT INTO account VALUES (1, 'n1', 1)")
	l.must(l.mesh.WaitCaughtUp(t.Context()))
	l.fails("pglogical cannot join a node again", "rebuild", "n1", "--yes", "--wipe", "--force")
	for _, n := range []string{"n2", "n3"} {
		l.exec(n, `SELECT pg_create_logical_replication_slot('spock_app_recovery_`+n+`_n1', 'pgoutput')`)
	}
	l.lose()
	knows := func(node string) int64 {
		return value[int64](l, node, `SELECT (SELECT count(*) FROM pglogical.node WHERE node_name = 'n1')
			+ (SELECT count(*) FROM pglogical.subscription WHERE sub_name LIKE '%from_n1')
			+ (SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ '(n1_from|_n1$)')
			+ (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:%' OR roname LIKE 'pgl_app_n1_%')`)
	}
	var dry droppedDoc
	l.ok(&dry, "drop", "n1", "--dry-run")
	if len(dry.Removed) == 0 || knows("n2") == 0 {
		t.Fatalf("dry run: %+v, %d left", dry, knows("n2"))
	}
	var done droppedDoc
	l.ok(&done, "drop", "n1", "--yes", "--slot", "n2/"+l.mesh.Slot("n2", "n1"), "--slot", "n3/"+l.mesh.Slot("n3", "n1"))
	for _, n := range []string{"n2", "n3"} {
		if got := knows(n); got != 0 {
			t.Errorf("%d things of n1 are left on %s", got, n)
		}
	}
	l.event(events.NodeDropped)
	l.exec("n2", "INSERT INTO account VALUES (2, 'n2', 1)")
	l.must(l.mesh.WaitCaughtUp(t.Context(), "n2", "n3"))
	if got := value[int64](l, "n3", "SELECT count(*) FROM account"); got != 2 {
		t.Errorf("n3 has %d rows", got)
	}
}
