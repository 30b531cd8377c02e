package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinks: what the documents refer to in this repository is there, with the heading.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob("*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d documents, %v", len(files), err)
	}
	links := 0
	for _, file := range append(files, "../README.md") {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(\s*([^)\s]+)\s*\)`).FindAllStringSubmatch(string(raw), -1) {
			to, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			links++
			at := file
			if to != "" {
				at = filepath.Join(filepath.Dir(file), to)
			}
			target, err := os.ReadFile(at)
			if err != nil {
				if info, serr := os.Stat(at); serr != nil || !info.IsDir() {
					t.Errorf("%s refers to %s: %v", file, m[1], err)
				}
				continue
			}
			if heading != "" && !headings(string(target))[heading] {
				t.Errorf("%s refers to %s: there is no such heading", file, m[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were found", links)
	}
}

// headings are the anchors of a document, as GitHub makes them.
func headings(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ +(.+)$`).FindAllStringSubmatch(text, -1) {
		h := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out[strings.ReplaceAll(h, " ", "-")] = true
	}
	return out
}
