package planner_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReasonsAreDocumented: every reason of a refusal has its row, with what to do, under
// "When Healer refuses", and every code at which the data path stops one under "When a
// recovery stops"; and nothing else has.
func TestReasonsAreDocumented(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	_, rest, _ := strings.Cut(read("../docs/operations.md"), "\n## When Healer refuses\n")
	refuses, rest, _ := strings.Cut(rest, "\n## When a recovery stops\n")
	stops, _, _ := strings.Cut(rest, "\n## ")

	want := []string{"rebuild_unfinished"} // topology.BarRebuild
	for _, m := range regexp.MustCompile(`(?m)^\t\w+ +Reason = "(\w+)"$`).FindAllStringSubmatch(read("reason.go"), -1) {
		want = append(want, m[1])
	}
	compareRows(t, "When Healer refuses", refuses, want)

	var codes []string
	for _, dir := range []string{"../rescue", "../internal/steps", "../postgres"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
				continue
			}
			for _, m := range regexp.MustCompile(`(?:Code: +|stop\((?:\w+\.\w+, )?)"(\w+)"`).FindAllStringSubmatch(read(dir+"/"+f.Name()), -1) {
				codes = append(codes, m[1])
			}
		}
	}
	// What any server may answer, and what is a refusal as well.
	codes = slices.DeleteFunc(codes, func(c string) bool {
		return slices.Contains([]string{"network", "client", "node_unreachable", "identity_changed", "slot_missing"}, c)
	})
	compareRows(t, "When a recovery stops", stops, codes)
}

// compareRows compares the codes in the first column of a section's tables with these.
func compareRows(t *testing.T, section, text string, want []string) {
	t.Helper()
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(text, -1) {
		for _, code := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			got = append(got, code[1])
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if len(want) < 15 {
		t.Errorf("%s: only %v are known", section, want)
	}
	slices.Sort(got)
	for _, code := range want {
		if !slices.Contains(got, code) {
			t.Errorf("%s: docs/operations.md lacks %s", section, code)
		}
	}
	for _, code := range got {
		if !slices.Contains(want, code) {
			t.Errorf("%s: docs/operations.md has %s, which nothing says", section, code)
		}
	}
}
