package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"healer/internal/localpg"
)

// uninstalled is what `healer uninstall -o json` says.
type uninstalled struct {
	Done    bool     `json:"done"`
	Running []string `json:"running_agents"`
	Unread  []string `json:"unread_nodes"`
	Removed []struct{ Node, Kind, Name string }
}

// uninstall must succeed.
func (c *cluster) uninstall(args ...string) uninstalled {
	c.t.Helper()
	code, said := c.command(append([]string{"uninstall", "-o", "json"}, args...)...)
	var out uninstalled
	if err := json.Unmarshal([]byte(said), &out); code != 0 || err != nil {
		c.t.Fatalf("uninstall %v ended with %d, %v:\n%s", args, code, err, said)
	}
	return out
}

// uninstallFails must fail, with these words, and change nothing.
func (c *cluster) uninstallFails(words string, args ...string) {
	c.t.Helper()
	before := c.ours()
	code, said := c.command(append([]string{"uninstall", "--yes"}, args...)...)
	if code != 1 || !strings.Contains(said, words) || !strings.Contains(said, "hint: ") {
		c.t.Errorf("uninstall ended with %d, want 1 and %q:\n%s", code, words, said)
	}
	if after := c.ours(); after != before {
		c.t.Errorf("a refused uninstall has changed something:\n%s\n%s", before, after)
	}
}

// ours is what of Healer's is on the nodes that answer, as SQL says it, and which
// subscriptions are disabled.
func (c *cluster) ours() string {
	c.t.Helper()
	var all []string
	for _, s := range c.mesh.Nodes() {
		if !s.Running() {
			continue
		}
		all = append(all, s.Name()+": "+value[string](c, s.Name(), `SELECT concat_ws(' ',
			(SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'spock%' OR slot_name LIKE 'healer%'),
			(SELECT string_agg(pubname, ' ' ORDER BY pubname) FROM pg_publication WHERE pubname LIKE 'healer%'),
			(SELECT string_agg(roname, ' ' ORDER BY roname) FROM pg_replication_origin WHERE roname LIKE 'healer:%'),
			(SELECT string_agg('disabled ' || subname, ' ' ORDER BY subname) FROM pg_subscription WHERE NOT subenabled))`))
	}
	return strings.Join(all, "\n")
}

// What Healer has made is taken back, all of it and nothing else, once that is safe; until
// then it is refused by name, and nothing is done.
func TestUninstall(t *testing.T) {
	t.Parallel()
	c := newCluster(t, localpg.Options{Tables: []string{"account", "entry"}}, nil)
	// So that Healer needs a publication of its own there.
	c.exec("n2", `ALTER PUBLICATION `+value[string](c, "n2", `SELECT pubname::text FROM pg_publication`)+` DROP TABLE entry`)
	c.startAll()
	c.exec("n2", `SELECT pg_create_logical_replication_slot('of_somebody', 'pgoutput')`)
	c.exec("n2", `CREATE PUBLICATION healers_own_idea FOR TABLE account`)
	c.exec("n3", `SELECT pg_replication_origin_create('of_somebody')`)
	c.uninstallFails("agents run: n1, n2, n3")

	c.lag(20)
	if err := c.mesh.Kill(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.recovered("n3", "n1", "n2", "n3")
	for _, n := range c.mesh.Names() {
		if err := c.stop(n); err != nil {
			t.Error(err)
		}
	}
	c.uninstallFails("the others are fenced off from n1, which does not answer")
	c.uninstallFails("the others are fenced off from n1, which does not answer", "--force")
	if err := c.mesh.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := c.mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	// It came back as it was, but somebody has found otherwise before.
	system := value[string](c, "n1", `SELECT system_identifier::text FROM pg_control_system()`)
	bar := "healer:bar:app:n1:behind_watermark:" + system + ":1"
	c.exec("n3", `SELECT pg_replication_origin_create($1)`, bar)
	c.uninstallFails("behind_watermark")
	c.exec("n3", `SELECT pg_replication_origin_drop($1)`, bar)

	before := c.ours()
	if !strings.Contains(before, " healer healers_own_idea ") {
		t.Errorf("Healer has no publication of its own:\n%s", before)
	}
	plan := c.uninstall("--dry-run")
	if plan.Done || len(plan.Removed) < 8 || c.ours() != before {
		t.Errorf("dry run: %+v", plan)
	}
	done := c.uninstall("--yes")
	if !done.Done || fmt.Sprint(done.Removed) != fmt.Sprint(plan.Removed) || done.Removed[0].Kind != "fence" {
		t.Errorf("done is %+v, planned was %+v", done, plan)
	}
	if left := c.ours(); left != "n1: \nn2: healers_own_idea\nn3: " {
		t.Errorf("of Healer's is left:\n%s", left)
	}
	if got := value[int64](c, "n2", `SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'of_somebody'`) +
		value[int64](c, "n3", `SELECT count(*) FROM pg_replication_origin WHERE roname = 'of_somebody'`); got != 2 {
		t.Error("somebody's own is gone")
	}
	// The mesh goes on by itself, in all directions.
	for i, n := range c.mesh.Names() {
		c.exec(n, `INSERT INTO account VALUES ($1, 'after', 1)`, 90001+i)
	}
	c.eventually("all have what each has written", func() error {
		for _, n := range c.mesh.Names() {
			if c.rows(n) != c.rows("n1") {
				return fmt.Errorf("%s and n1 differ", n)
			}
		}
		return nil
	})
	if again := c.uninstall("--yes"); len(again.Removed) != 0 || !again.Done {
		t.Errorf("again: %+v", again)
	}
}
