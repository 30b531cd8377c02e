package check_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"healer/chaos/check"
)

// TestKept judges runs once more that soaks have kept: those in the directories that
// HEALER_CHAOS_KEPT names, a list as in PATH. It shows whether a checker that was mended
// still finds what it found then.
func TestKept(t *testing.T) {
	dirs := filepath.SplitList(os.Getenv("HEALER_CHAOS_KEPT"))
	if len(dirs) == 0 {
		t.Skip("HEALER_CHAOS_KEPT names no directory of a kept run")
	}
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "run.json")) //nolint:gosec // whoever runs the test names it
		if err != nil {
			t.Fatal(err)
		}
		var r check.Run
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, v := range check.Check(r) {
			t.Errorf("%s: %s: %s", dir, v.Checker, v.Detail)
		}
	}
}
