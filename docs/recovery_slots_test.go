package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRowsAreShownByTests: each row of the table of recovery slots names tests that there
// are.
func TestRowsAreShownByTests(t *testing.T) {
	raw, err := os.ReadFile("recovery-slots.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, line := range strings.Split(string(raw), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		if !strings.HasPrefix(line, "|") || len(cells) != 3 || strings.HasPrefix(line, "|---") || strings.Contains(line, "shown by") {
			continue
		}
		rows++
		named := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 {
			t.Errorf("no test shows: %s", cells[0])
		}
		for _, m := range named {
			if !shown(t, m[1]) {
				t.Errorf("there is no %s, which is to show: %s", m[1], cells[0])
			}
		}
	}
	if rows < 20 {
		t.Errorf("the table has %d rows", rows)
	}
}

// shown finds a script, or a test of a package.
func shown(t *testing.T, name string) bool {
	t.Helper()
	if strings.HasSuffix(name, ".txtar") {
		_, err := os.Stat(filepath.Join("..", name))
		return err == nil
	}
	dir, test, ok := strings.Cut(name, ".Test")
	if !ok {
		return false
	}
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "\nfunc Test"+test+"(") {
			return true
		}
	}
	return false
}
