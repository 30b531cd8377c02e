package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
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
	var b strings.Builder
	b.WriteString("cluster: app\nnats: {url: \"nats://127.0.0.1:1\"}\nnodes:\n")
	for i, s := range mesh.Nodes() {
		fmt.Fprintf(&b, "  - name: %s\n    dsn: %q\n    gossip: 127.0.0.1:%d\n    api: 127.0.0.1:%d\n", s.Name(), s.DSN(), i+1, i+101)
	}
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(code int) (f found) {
		t.Helper()
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
	for _, want := range []string{"n2 warning subscription_disabled", "n3 blocking link_missing"} {
		if !slices.Contains(f.codes(), want) {
			t.Errorf("no %s in %v", want, f.codes())
		}
	}
	for _, p := range f.Problems {
		if p.Code == "subscription_disabled" {
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
			if p.Code == "subscription_disabled" || p.Code == "no_key" {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
}
