package detector

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// conditionTable is the table of conditions as docs/detection.md has it.
func conditionTable() string {
	var b strings.Builder
	b.WriteString("| condition | evidence | severity | the observer, or the agent, saw that | what follows |\n|---|---|---|---|---|\n")
	for _, m := range Conditions() {
		kind := string(m.Kind)
		if m.Kind == Neutral {
			kind = "-"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Condition, kind, m.Severity, m.Text, m.Leads)
	}
	return b.String()
}

// The documented table is this one. Run with -rewrite to bring it up to date.
func TestConditionsAreDocumented(t *testing.T) {
	const path, begin, end = "../docs/detection.md", "<!-- conditions -->\n", "<!-- /conditions -->\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	table, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no table between %q and %q", path, begin, end)
	}
	want := conditionTable()
	if table == want {
		return
	}
	if f := flag.Lookup("rewrite"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(path, []byte(head+begin+want+end+tail), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the table in %s is not that of the code: run `go test ./detector -run Documented -args -rewrite`", path)
}

// Each condition leads somewhere in a golden script, and is a complete row.
func TestEveryConditionHasAGoldenScript(t *testing.T) {
	files, err := filepath.Glob("testdata/judge/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for _, m := range Conditions() {
		if !strings.Contains(all.String(), string(m.Condition)) {
			t.Errorf("no golden script has %s", m.Condition)
		}
		if m.Text == "" || m.Leads == "" || m.Severity == "" || m.Kind == "" {
			t.Errorf("the row of %s is incomplete: %+v", m.Condition, m)
		}
	}
}
