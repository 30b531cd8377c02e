package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryCommandIsDocumented reads the manual pages of the binary: every command that
// does something says what, by example, and how it ends.
func TestEveryCommandIsDocumented(t *testing.T) {
	dir := t.TempDir()
	app := newApp()
	var out, say bytes.Buffer
	app.Stdout, app.Stderr = &out, &say
	if code := app.Run(t.Context(), []string{"man", "--dir", dir}); code != 0 {
		t.Fatalf("exit code %d: %s", code, &say)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	section := regexp.MustCompile(`(?m)^\.SH ([A-Z ]+)$`)
	for _, path := range pages {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, page := strings.TrimSuffix(filepath.Base(path), ".1"), string(raw)
		has := map[string]bool{}
		for _, m := range section.FindAllStringSubmatch(page, -1) {
			has[m[1]] = true
		}
		need := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"}
		if !has["COMMANDS"] && !strings.HasPrefix(name, "healer-completion") { // cobra's own has examples in its text
			need = append(need, "EXAMPLES")
		}
		for _, s := range need {
			if !has[s] {
				t.Errorf("%s has no %s", name, s)
			}
		}
		if _, after, ok := strings.Cut(page, ".SH EXAMPLES\n"); ok && !strings.Contains(strings.ReplaceAll(after, `\-`, "-"), strings.ReplaceAll(name, "-", " ")) {
			t.Errorf("the examples of %s do not call it", name)
		}
	}
}
