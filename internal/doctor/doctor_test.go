package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"healer/internal/build"
	"healer/internal/cli"
	"healer/internal/doctor"
	"healer/internal/localpg"
	"healer/internal/localpg/pgtest"
)

// found is what the JSON says, as far as this test reads it.
type found struct {
	Nodes []struct {
		Name    string
		ClockMS *float64 `json:"clock_ms"`
	}
	Problems []struct{ Node, Code, Severity, Remedy string }
	Blocking int
}

func (f found) codes() (codes []string) {
	for _, p := range f.Problems {
		codes = append(codes, strings.Join([]string{p.Node, p.Severity, p.Code}, " "))
	}
	slices.Sort(codes)
	return codes
}

// TestDoctor looks at a real mesh: as it should be, then with what is broken on
// purpose; and what it says mends it does.
func TestDoctor(t *testing.T) {
	t.Parallel()
	mesh := pgtest.Mesh(t, localpg.Options{Schema: []string{
		"CREATE TABLE kv (k bigint PRIMARY KEY, v text)", `CREATE TABLE "Log of all" (v text)`,
	}})
	look := func(code int) found { t.Helper(); return examined(t, mesh, code) }
	exec := func(node, sql string) {
		t.Helper()
		if err := mesh.Exec(context.Background(), node, sql); err != nil {
			t.Fatal(err)
		}
	}
	keyless := []string{"n1 warning no_key", "n2 warning no_key", "n3 warning no_key"}

	f := look(0)
	if diff := cmp.Diff(keyless, f.codes()); diff != "" {
		t.Errorf("a mesh as it should be (-want +got):\n%s", diff)
	}
	for _, n := range f.Nodes {
		if n.ClockMS == nil || *n.ClockMS > 60_000 || *n.ClockMS < -60_000 {
			t.Errorf("clock of %s: %v ms", n.Name, n.ClockMS)
		}
	}

	sub := localpg.SubscriptionName("n2", "n1")
	exec("n2", "ALTER SUBSCRIPTION "+sub+" DISABLE")
	exec("n3", "ALTER PUBLICATION mesh SET (publish = 'insert, update')")
	gone := localpg.SubscriptionName("n3", "n1")
	exec("n3", "ALTER SUBSCRIPTION "+gone+" DISABLE; ALTER SUBSCRIPTION "+gone+" SET (slot_name = NONE); DROP SUBSCRIPTION "+gone)
	if err := mesh.Kill(context.Background(), "n1"); err != nil {
		t.Fatal(err)
	}
	f = look(1)
	for _, want := range []string{"n1 blocking unreachable"} {
		if !slices.Contains(f.codes(), want) {
			t.Errorf("no %s in %v", want, f.codes())
		}
	}
	if err := mesh.Node("n1").Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	f = look(1)
	for _, want := range []string{"n2 warning subscription_disabled", "n3 warning published_in_part", "n3 blocking link_missing"} {
		if !slices.Contains(f.codes(), want) {
			t.Errorf("no %s in %v", want, f.codes())
		}
	}
	for _, p := range f.Problems {
		if p.Code == "subscription_disabled" || p.Code == "published_in_part" {
			exec(p.Node, p.Remedy)
		}
		if p.Code == "no_key" {
			_, remedy, _ := strings.Cut(p.Remedy, " or ")
			exec(p.Node, remedy)
		}
	}
	pgtest.Eventually(t, time.Minute, "what was mended is not found again", func() error {
		f = look(1)
		for _, p := range f.Problems {
			if p.Code == "subscription_disabled" || p.Code == "published_in_part" || p.Code == "no_key" {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
}

// examined is what doctor says of a mesh, with its exit code.
func examined(t *testing.T, mesh *localpg.Mesh, code int) (f found) {
	t.Helper()
	var b strings.Builder
	b.WriteString("cluster: app\nnats: {url: \"nats://127.0.0.1:1\"}\nnodes:\n")
	for i, s := range mesh.Nodes() {
		fmt.Fprintf(&b, "  - name: %s\n    dsn: %q\n    gossip: 127.0.0.1:%d\n    api: 127.0.0.1:%d\n", s.Name(), s.DSN(), i+1, i+101)
	}
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(string) (string, error) { return "", nil }
	var out, say bytes.Buffer
	got := cli.App{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &say, Build: build.Read("v1"), CheckDSN: check,
		Commands: []*cobra.Command{doctor.Command(check)},
	}.Run(t.Context(), []string{"doctor", "--config", file, "-o", "json"})
	if err := json.Unmarshal(out.Bytes(), &f); err != nil || got != code {
		t.Fatalf("exit code %d, want %d; %v\n%s%s", got, code, err, &out, &say)
	}
	return f
}

// TestDoctorOfMixedMajors names what servers of several majors cannot do with one another;
// what it says mends it does, and the servers do what it says they do.
func TestDoctorOfMixedMajors(t *testing.T) {
	t.Parallel()
	mesh := pgtest.Mesh(t, localpg.Options{Majors: []int{16, 17, 18}, Schema: []string{
		`CREATE TABLE kv (k bigint PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED)`,
	}})
	exec := func(node, sql string) {
		t.Helper()
		if err := mesh.Exec(context.Background(), node, sql); err != nil {
			t.Fatalf("%s: %s: %v", node, sql, err)
		}
	}
	if got := examined(t, mesh, 0).codes(); len(got) > 0 {
		t.Errorf("a mesh as it should be: %v", got)
	}

	exec("n3", `ALTER PUBLICATION `+localpg.Publication+` SET (publish_generated_columns = stored)`)
	exec("n2", `ALTER SUBSCRIPTION `+localpg.SubscriptionName("n2", "n3")+` SET (binary = true)`)
	sub := localpg.SubscriptionName("n2", "n1")
	// A subscription that was made for another provider.
	exec("n2", `UPDATE pg_subscription SET subfailover = true WHERE subname = '`+sub+`'`)
	for _, n := range mesh.Names() {
		exec(n, `CREATE TABLE waits (k bigint PRIMARY KEY, "for" interval, what jsonpath)`)
	}
	want := []string{"n1 info mixed_values", "n1 info mixed_values", "n2 warning mixed_binary", "n2 warning mixed_failover", "n3 warning mixed_generated"}
	f := examined(t, mesh, 0)
	got := slices.DeleteFunc(f.codes(), func(s string) bool { return !strings.Contains(s, " mixed_") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what cannot work (-want +got):\n%s", diff)
	}
	for _, p := range f.Problems {
		switch p.Code {
		case "mixed_binary", "mixed_generated":
			remedy, _, _ := strings.Cut(p.Remedy, ", ")
			exec(p.Node, remedy)
		}
	}
	got = slices.DeleteFunc(examined(t, mesh, 0).codes(), func(s string) bool { return !strings.Contains(s, " mixed_") })
	if diff := cmp.Diff([]string{"n1 info mixed_values", "n1 info mixed_values", "n2 warning mixed_failover"}, got); diff != "" {
		t.Errorf("what was mended (-want +got):\n%s", diff)
	}

	for sql, works := range map[string][]string{
		`SELECT 'infinity'::interval`: {"n2", "n3"}, `SELECT '$.a.bigint()'::jsonpath`: {"n2", "n3"},
	} {
		for _, n := range mesh.Names() {
			if err := mesh.Exec(context.Background(), n, sql); (err == nil) != slices.Contains(works, n) {
				t.Errorf("%s: %s: %v", n, sql, err)
			}
		}
	}
	exec("n3", `ALTER PUBLICATION `+localpg.Publication+` SET (publish_generated_columns = stored); INSERT INTO kv VALUES (1, 1)`)
	pgtest.Eventually(t, time.Minute, "a generated column that is sent stops the apply workers", func() error {
		failed, err := localpg.Value[int64](context.Background(), mesh.Node("n1"), `SELECT sum(apply_error_count)::bigint FROM pg_stat_subscription_stats`)
		if err == nil && failed == 0 {
			err = errors.New("no error yet")
		}
		return err
	})
}
