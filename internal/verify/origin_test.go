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
	"healer/postgres/native"
)

// What survivors lack of a lost node is carried as rows when no slot has its
// transactions, deletions included; and the node comes back to what it left.
func TestRowsOfALostNode(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mesh := pgtest.Mesh(t, localpg.Options{Links: true, Schema: []string{
		`CREATE TABLE account (id bigint PRIMARY KEY, owner text, amount bigint)`,
	}})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	exec := func(node, sql string) {
		t.Helper()
		must(mesh.Exec(ctx, node, sql))
	}
	servers := map[string]*postgres.Server{}
	var file strings.Builder
	file.WriteString("cluster: app\nnats: {url: \"nats://127.0.0.1:1\"}\nnodes:\n")
	for i, n := range mesh.Nodes() {
		s, err := postgres.Open(n.Name(), n.DSN())
		must(err)
		t.Cleanup(s.Close)
		servers[n.Name()] = s
		fmt.Fprintf(&file, "  - {name: %s, dsn: %q, gossip: \"127.0.0.1:%d\", api: \"127.0.0.1:%d\"}\n", n.Name(), n.DSN(), i+1, i+11)
	}
	path := filepath.Join(t.TempDir(), "healer.yaml")
	must(os.WriteFile(path, []byte(file.String()), 0o600))
	type report struct {
		Result string
		Notes  []string
	}
	run := func(args ...string) (code int, doc report, said string) {
		var out, say bytes.Buffer
		code = cli.App{
			Stdout: &out, Stderr: &say, Build: build.Read("v1"), Commands: []*cobra.Command{verify.Command(nil)},
		}.Run(ctx, append([]string{"verify", "--config", path, "--quiet", "-o", "json"}, args...))
		_ = json.Unmarshal(out.Bytes(), &doc)
		return code, doc, out.String() + say.String()
	}
	engine := native.New(native.Options{Cluster: "app", Servers: servers, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(engine.Close)

	exec("n1", `INSERT INTO account SELECT i, 'n1', 0 FROM generate_series(1, 100) i`)
	must(mesh.WaitCaughtUp(ctx))
	if code, _, said := run("--repair", "--origin", "n1"); code != 3 || !strings.Contains(said, "not fenced off") {
		t.Fatalf("without a fence: exit code %d\n%s", code, said)
	}
	obs := engine.ObserveAll(ctx)
	mesh.Link("n1", "n3").Cut()
	exec("n1", `INSERT INTO account SELECT i, 'n1', 1 FROM generate_series(1001, 1050) i`)
	exec("n1", `UPDATE account SET amount = 1 WHERE id <= 10`)
	exec("n1", `DELETE FROM account WHERE id BETWEEN 11 AND 20`)
	must(mesh.WaitCaughtUp(ctx, "n1", "n2"))
	// Later than the gap, of a row that n1 has deleted and n3 has not: it stays.
	exec("n3", `UPDATE account SET amount = 3 WHERE id = 15`)
	exec("n3", `INSERT INTO account VALUES (5000, 'n3', 3)`)

	n1, _ := obs.Node("n1")
	must(mesh.Kill(ctx, "n1"))
	for _, n := range []string{"n2", "n3"} {
		state, _ := obs.Node(n)
		sub, ok := state.From("n1")
		if !ok {
			t.Fatalf("%s reads from nobody known", n)
		}
		_, err := engine.Fence(ctx, n, sub, n1.Identity)
		must(err)
	}
	value := func(node, sql string) string {
		t.Helper()
		v, err := localpg.Value[string](ctx, mesh.Node(node), sql)
		must(err)
		return v
	}
	const rows = `SELECT md5(string_agg(a::text, ',' ORDER BY id)) FROM account a`
	if code, doc, said := run("--repair", "--dry-run", "--origin", "n1"); code != 1 || value("n2", rows) == value("n3", rows) {
		t.Fatalf("dry run: exit code %d, %+v\n%s", code, doc, said)
	}
	code, doc, said := run("--repair", "--origin", "n1")
	notes := strings.Join(doc.Notes, "\n")
	if code != 0 || !strings.Contains(notes, "ROWS, NOT TRANSACTIONS: n3 got from n2") || !strings.Contains(notes, "and 9 that it deleted") {
		t.Fatalf("exit code %d\n%s\n%s", code, notes, said)
	}
	if value("n2", rows) != value("n3", rows) {
		t.Error("the survivors differ")
	}
	if got := value("n3", `SELECT string_agg(id::text, ',' ORDER BY id) FROM account WHERE id BETWEEN 11 AND 20`); got != "15" {
		t.Errorf("of the deleted rows n3 has %s: want 15, which it wrote later", got)
	}
	const left = `SELECT (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'healer:gap:%')::text`
	if value("n3", left) != "0" {
		t.Error("a gap mark is left")
	}
	if _, doc, _ := run("--repair", "--origin", "n1"); !strings.Contains(strings.Join(doc.Notes, " "), "no survivor lacks anything of n1") {
		t.Errorf("again: %v", doc.Notes)
	}

	must(mesh.Heal())
	must(mesh.Node("n1").Start(ctx))
	for _, n := range []string{"n2", "n3"} {
		for _, f := range engine.Observe(ctx, n).Fences {
			must(engine.Unfence(ctx, n, f))
		}
	}
	exec("n1", `INSERT INTO account VALUES (6000, 'n1', 6)`)
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	must(mesh.WaitCaughtUp(within))
	if a, b, c := value("n1", rows), value("n2", rows), value("n3", rows); b != c || value("n3", `SELECT amount::text FROM account WHERE id = 6000`) != "6" {
		t.Errorf("n1 %s, n2 %s, n3 %s", a, b, c)
	}
}
