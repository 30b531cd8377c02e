package mutants

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestFit: every mutant fits the code as it is, and what comes of it compiles. Two that
// change the same place are not built together.
func TestFit(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range All() {
		if seen[m.Name] || m.What == "" || len(m.edits) == 0 {
			t.Errorf("mutant %q has no name of its own, or does nothing", m.Name)
		}
		seen[m.Name] = true
		if _, err := overlay(root, t.TempDir(), []Mutant{m}); err != nil {
			t.Error(err)
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d mutants, want ten at least", len(seen))
	}
	together := slices.DeleteFunc(All(), func(m Mutant) bool { return m.Name == "own_time" })
	if err := Build(t.Context(), root, t.TempDir(), "", "./rescue ./keeper ./detector ./events ./executor ./postgres/engine ./internal/steps ./internal/app", together...); err != nil {
		t.Error(err)
	}
}

// TestUnfit: a mutant whose place is gone is no mutant.
func TestUnfit(t *testing.T) {
	m := Mutant{Name: "gone", What: "-", edits: []edit{{"rescue/gap.go", "this is not in it", ""}}}
	if _, err := overlay("../..", t.TempDir(), []Mutant{m}); err == nil {
		t.Error("it was built")
	}
}
