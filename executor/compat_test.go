package executor_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healer/executor"
	"healer/internal/compat"
)

// TestEarlierJournal: the run of an earlier version that a data directory holds is told of
// in full.
func TestEarlierJournal(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/compat/journal.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		compat.Check(t, []byte(line), func(b []byte) (e executor.Entry, err error) {
			err = json.Unmarshal(b, &e)
			return e, err
		}, func(e executor.Entry) ([]byte, error) { return json.Marshal(e) }, "figures")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journal.jsonl"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	past, err := openJournal(t, dir, 0, 0).History()
	if err != nil || len(past) != 1 {
		t.Fatalf("%d runs, %v", len(past), err)
	}
	if p := past[0]; p.State != executor.Verified || p.Node != "n3" || len(p.Steps) == 0 || p.Steps[0].State != executor.StepDone {
		t.Errorf("the run was %+v", p)
	}
}
