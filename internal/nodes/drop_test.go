package nodes_test

import (
	"encoding/json"
	"strings"
	"testing"

	"healer/events"
	"healer/internal/localpg"
)

// What the JSON of a drop says, as far as these tests read it.
type droppedDoc struct {
	Verified bool          `json:"verified"`
	Lost     []events.Lost `json:"lost"`
	Removed  []struct{ Node, Kind, Name string }
	Left     []struct{ Node, Kind, Name string }
	Lines    string `json:"lines"`
	Event    string `json:"event"`
}

func TestDrop(t *testing.T) {
	t.Parallel()
	l := newLab(t, 18)
	l.fill()
	l.fails("a node that lives is not dropped", "drop", "n1", "--yes")
	l.fails("not in the file", "drop", "n9", "--yes")

	// Healer's slots for n1, and one of somebody else that is none of its business.
	for _, n := range []string{"n2", "n3"} {
		l.exec(n, `SELECT pg_create_logical_replication_slot('spock_app_recovery_`+n+`_n1', 'pgoutput')`)
		l.exec(n, `SELECT pg_replication_origin_create('healer:repair:n1'), pg_replication_origin_create('healer:bar:app:n1:behind_watermark:1:1'),
			pg_replication_origin_create('healer:owed:app:n1:n2')`)
	}
	l.exec("n2", `SELECT pg_create_logical_replication_slot('of_somebody', 'pgoutput')`)
	l.lose()

	var dry droppedDoc
	l.ok(&dry, "drop", "n1", "--dry-run")
	if len(dry.Removed) == 0 || l.left("n2") == 0 || dry.Lines != "lines 4 to 7" || dry.Event != "" {
		t.Fatalf("dry run: %+v, %d left", dry, l.left("n2"))
	}
	// Nobody but n1 knew which slots fed it: they are shown, and dropped by name.
	if len(dry.Left) != 3 {
		t.Errorf("left: %+v", dry.Left)
	}
	slots := []string{"--slot", "n2/" + localpg.SubscriptionName("n1", "n2"), "--slot", "n3/" + localpg.SubscriptionName("n1", "n3")}
	drop := append([]string{"drop", "n1"}, slots...)
	if code, _, say := l.run(t.Context(), "n2\n", drop...); code != 1 || !strings.Contains(say, "nothing was done") || l.left("n2") == 0 {
		t.Fatalf("the wrong name: exit code %d\n%s", code, say)
	}
	l.fails("no such logical slot", "drop", "n1", "--yes", "--slot", "n2/nothing")

	// A part of it was done by a run that was killed.
	l.exec("n3", `ALTER SUBSCRIPTION sub_n3_from_n1 SET (slot_name = NONE); DROP SUBSCRIPTION sub_n3_from_n1`)
	if code, _, say := l.run(t.Context(), "n1\n", drop...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, say)
	}
	for _, n := range []string{"n2", "n3"} {
		if got := l.left(n); got != 0 {
			t.Errorf("%d things of n1 are left on %s", got, n)
		}
	}
	if got := value[int64](l, "n2", `SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'of_somebody'`); got != 1 {
		t.Error("somebody's own slot is gone")
	}
	e := l.event(events.NodeDropped)
	var d events.Dropped
	l.must(json.Unmarshal(e.Data, &d))
	// No agent runs that has heard of n1's log.
	if d.Forced || len(d.Survivors) != 2 || d.UnsentBytes != nil || !strings.Contains(d.UnsentUnknown, "no agent that answers") {
		t.Errorf("event %+v", d)
	}
	// The survivors go on with one another.
	l.exec("n2", `INSERT INTO account VALUES (9001, 'n2', 1)`)
	l.must(l.mesh.WaitCaughtUp(t.Context(), "n2", "n3"))
	if l.rows("n2") != l.rows("n3") {
		t.Error("the survivors differ")
	}
	var again droppedDoc
	l.ok(&again, "drop", "n1", "--yes")
	if len(again.Removed) != 0 || again.Event != "" {
		t.Errorf("again: %+v", again)
	}
}

// Without a verified recovery it takes --force, which says what is lost.
func TestDropUnverified(t *testing.T) {
	t.Parallel()
	l := newLab(t, 18)
	l.fill()
	l.exec("n2", `CREATE PUBLICATION healer FOR TABLE account`)
	l.exec("n2", `SELECT pg_create_logical_replication_slot('spock_app_recovery_n2_n3', 'pgoutput')`)
	l.exec("n3", `ALTER SUBSCRIPTION sub_n3_from_n1 DISABLE`)
	for range 3 {
		l.exec("n1", `INSERT INTO account SELECT coalesce(max(id), 0) + 1, 'n1', 1 FROM account`)
	}
	l.must(l.mesh.WaitCaughtUp(t.Context(), "n1", "n2"))
	l.exec("n3", `ALTER SUBSCRIPTION sub_n3_from_n1 SET (slot_name = NONE)`) // it must not catch up
	l.lose()
	l.fails("n3 lacks", "drop", "n1", "--yes")
	if l.left("n2") == 0 {
		t.Fatal("a refused drop has removed something")
	}
	var d droppedDoc
	l.ok(&d, "drop", "n1", "--yes", "--force")
	if d.Verified || len(d.Lost) != 1 || d.Lost[0].Node != "n3" || d.Lost[0].Transactions != 3 || d.Lost[0].Bytes <= 0 {
		t.Errorf("lost: %+v", d)
	}
	if got := l.event(events.NodeDropped); !strings.Contains(string(got.Data), `"forced":true`) {
		t.Errorf("event %s", got.Data)
	}
	// Of three nodes one alone may drop nobody.
	l.must(l.mesh.Kill(t.Context(), "n3"))
	l.fails("needs the majority", "drop", "n1", "--yes", "--force")
}
