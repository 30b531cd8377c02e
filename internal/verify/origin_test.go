package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
	"healer/internal/verify"
	"healer/postgres"
	"healer/postgres/engine"
	"healer/postgres/native"
	"healer/topology"
)

// rig is a mesh with a table, and the command on it.
type rig struct {
	*testing.T
	*localpg.Mesh
	engine *engine.Engine
	file   string
}

// notes are what of a report the tests look at.
type notes struct {
	Result string
	Notes  []string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, Mesh: pgtest.Mesh(t, localpg.Options{Links: true, Schema: []string{
		`CREATE TABLE account (id bigint PRIMARY KEY, owner text, amount bigint)`,
	}})}
	servers := map[string]*postgres.Server{}
	var file strings.Builder
	file.WriteString("cluster: app\nnats: {url: \"nats://127.0.0.1:1\"}\nnodes:\n")
	for i, n := range r.Nodes() {
		s, err := postgres.Open(n.Name(), n.DSN())
		r.must(err)
		t.Cleanup(s.Close)
		servers[n.Name()] = s
		fmt.Fprintf(&file, "  - {name: %s, dsn: %q, gossip: \"127.0.0.1:%d\", api: \"127.0.0.1:%d\"}\n", n.Name(), n.DSN(), i+1, i+11)
	}
	r.file = filepath.Join(t.TempDir(), "healer.yaml")
	r.must(os.WriteFile(r.file, []byte(file.String()), 0o600))
	r.engine = native.New(engine.Options{Cluster: "app", Servers: servers, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(r.engine.Close)
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) exec(node, sql string) {
	r.Helper()
	r.must(r.Exec(r.Context(), node, sql))
}

func (r *rig) value(node, sql string) string {
	r.Helper()
	v, err := localpg.Value[string](r.Context(), r.Node(node), sql)
	r.must(err)
	return v
}

// run runs healer verify.
func (r *rig) run(args ...string) (code int, doc notes, said string) {
	var out, say bytes.Buffer
	code = cli.App{
		Stdout: &out, Stderr: &say, Build: build.Read("v1"), Commands: []*cobra.Command{verify.Command(nil)},
	}.Run(r.Context(), append([]string{"verify", "--config", r.file, "--quiet", "-o", "json"}, args...))
	_ = json.Unmarshal(out.Bytes(), &doc)
	return code, doc, out.String() + say.String()
}

// lose kills n1, and fences the others off from it as they were observed before.
func (r *rig) lose(before topology.Observation) {
	r.Helper()
	n1, _ := before.Node("n1")
	r.must(r.Kill(r.Context(), "n1"))
	for _, n := range []string{"n2", "n3"} {
		state, _ := before.Node(n)
		sub, ok := state.From("n1")
		if !ok {
			r.Fatalf("%s reads from nobody known", n)
		}
		_, err := r.engine.Fence(r.Context(), n, sub, n1.Identity)
		r.must(err)
	}
}

const accounts = `SELECT md5(string_agg(a::text, ',' ORDER BY id)) FROM account a`

// What survivors lack of a lost node is carried as rows when no slot has its
// transactions, deletions included; and the node comes back to what it left.
func TestRowsOfALostNode(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRig(t)
	r.exec("n1", `INSERT INTO account SELECT i, 'n1', 0 FROM generate_series(1, 100) i`)
	r.must(r.WaitCaughtUp(ctx))
	if code, _, said := r.run("--repair", "--origin", "n1"); code != 3 || !strings.Contains(said, "not fenced off") {
		t.Fatalf("without a fence: exit code %d\n%s", code, said)
	}
	obs := r.engine.ObserveAll(ctx)
	r.Link("n1", "n3").Cut()
	r.exec("n1", `INSERT INTO account SELECT i, 'n1', 1 FROM generate_series(1001, 1050) i`)
	r.exec("n1", `UPDATE account SET amount = 1 WHERE id <= 10`)
	r.exec("n1", `DELETE FROM account WHERE id BETWEEN 11 AND 20`)
	r.must(r.WaitCaughtUp(ctx, "n1", "n2"))
	// Later than the gap, of a row that n1 has deleted and n3 has not: it stays.
	r.exec("n3", `UPDATE account SET amount = 3 WHERE id = 15`)
	r.exec("n3", `INSERT INTO account VALUES (5000, 'n3', 3)`)

	r.lose(obs)
	if code, doc, said := r.run("--repair", "--dry-run", "--origin", "n1"); code != 1 || r.value("n2", accounts) == r.value("n3", accounts) {
		t.Fatalf("dry run: exit code %d, %+v\n%s", code, doc, said)
	}
	code, doc, said := r.run("--repair", "--origin", "n1")
	notes := strings.Join(doc.Notes, "\n")
	if code != 0 || !strings.Contains(notes, "ROWS, NOT TRANSACTIONS: n3 got from n2") || !strings.Contains(notes, "and 9 that it deleted") {
		t.Fatalf("exit code %d\n%s\n%s", code, notes, said)
	}
	if r.value("n2", accounts) != r.value("n3", accounts) {
		t.Error("the survivors differ")
	}
	if got := r.value("n3", `SELECT string_agg(id::text, ',' ORDER BY id) FROM account WHERE id BETWEEN 11 AND 20`); got != "15" {
		t.Errorf("of the deleted rows n3 has %s: want 15, which it wrote later", got)
	}
	const left = `SELECT (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%')::text`
	if r.value("n3", left) != "0" {
		t.Error("a gap mark is left")
	}
	if _, doc, _ := r.run("--repair", "--origin", "n1"); !strings.Contains(strings.Join(doc.Notes, " "), "no survivor lacks anything of n1") {
		t.Errorf("again: %v", doc.Notes)
	}

	r.must(r.Heal())
	r.must(r.Node("n1").Start(ctx))
	for _, n := range []string{"n2", "n3"} {
		for _, f := range r.engine.Observe(ctx, n).Fences {
			r.must(r.engine.Unfence(ctx, n, f))
		}
	}
	r.exec("n1", `INSERT INTO account VALUES (6000, 'n1', 6)`)
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r.must(r.WaitCaughtUp(within))
	if a, b, c := r.value("n1", accounts), r.value("n2", accounts), r.value("n3", accounts); b != c || r.value("n3", `SELECT amount::text FROM account WHERE id = 6000`) != "6" {
		t.Errorf("n1 %s, n2 %s, n3 %s", a, b, c)
	}
}

// A holder that got the gap while it kept no commit timestamps would lose its rows to the
// older ones of the laggard: nothing is repaired, and the rows are counted.
func TestRowsWithoutTimestampsAreNotRepaired(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRig(t)
	track := func(value string) {
		t.Helper()
		r.exec("n2", "ALTER SYSTEM SET track_commit_timestamp = "+value)
		r.must(r.Node("n2").Restart(ctx, localpg.Fast))
	}
	r.exec("n1", `INSERT INTO account SELECT i, 'n1', 0 FROM generate_series(1, 100) i`)
	r.must(r.WaitCaughtUp(ctx))
	obs := r.engine.ObserveAll(ctx)
	r.Link("n1", "n3").Cut()
	track("off")
	r.exec("n1", `UPDATE account SET amount = 1 WHERE id <= 10`)
	r.must(r.WaitCaughtUp(ctx, "n1", "n2"))
	track("on")
	r.lose(obs)
	code, doc, said := r.run("--repair", "--dry-run", "--origin", "n1")
	if got := strings.Join(doc.Notes, "\n"); code != 1 || !strings.Contains(got, "n2 has 10 without a commit timestamp") || !strings.Contains(got, "NOT TO BE REPAIRED") {
		t.Fatalf("dry run: exit code %d, %s\n%s", code, got, said)
	}
	before := r.value("n2", accounts)
	if code, _, said = r.run("--repair", "--origin", "n1"); code == 0 || !strings.Contains(said, "no commit timestamps") || !strings.Contains(said, "healer node rebuild n3") {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	if r.value("n2", accounts) != before {
		t.Error("the holder's rows are lost")
	}
	if got := r.value("n3", `SELECT count(*)::text FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%'`); got != "0" {
		t.Error("a gap is marked, and nothing was begun")
	}
}
