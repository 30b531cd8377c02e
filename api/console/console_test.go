package console_test

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"healer/api/console"
)

// page asks for a part of the page, or for the page itself.
func page(t *testing.T, file string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/console/x", nil)
	r.SetPathValue("file", file)
	w := httptest.NewRecorder()
	console.Handler().ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// parts are the files of the page.
func parts(t *testing.T) []string {
	t.Helper()
	all, err := fs.ReadDir(os.DirFS("page"), ".")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range all {
		out = append(out, f.Name())
	}
	return out
}

// TestPolicy: every part forbids the browser whatever the page does not need.
func TestPolicy(t *testing.T) {
	for _, file := range append(parts(t), "") {
		r := page(t, file)
		policy := r.Header.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'none'", "script-src 'self';", "style-src 'self';", "connect-src 'self';", "form-action 'none'",
			"frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'",
		} {
			if !strings.Contains(policy, want) {
				t.Errorf("%q: the policy %q lacks %s", file, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || r.StatusCode != http.StatusOK || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: %d, %v", file, r.StatusCode, r.Header)
		}
	}
}

// TestParts: what the page refers to is there, and nothing is elsewhere.
func TestParts(t *testing.T) {
	refers := regexp.MustCompile(`(?:src|href)="(/console/[^"]+)"|from '\./([^']+)'`)
	outside := regexp.MustCompile(`(?i)\b(?:https?:)?//[a-z0-9.-]+\.[a-z]`)
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|\beval\(|new Function|localStorage|sessionStorage|document\.cookie`)
	inline := regexp.MustCompile(`(?i)<script(?:\s+type="module")?>|<style|\sstyle=|\son[a-z]+=`)
	seen := map[string]bool{"index.html": true}
	for _, file := range parts(t) {
		body := text(t, page(t, file))
		for _, m := range refers.FindAllStringSubmatch(body, -1) {
			name := path.Base(m[1] + m[2])
			seen[name] = true
			if r := page(t, name); r.StatusCode != http.StatusOK {
				t.Errorf("%s refers to %s, which is not there", file, name)
			}
		}
		bare := strings.ReplaceAll(body, "http://www.w3.org/2000/svg", "")
		for what, re := range map[string]*regexp.Regexp{"an outside address": outside, "what makes markup, or keeps something": markup, "something inline": inline} {
			if hit := re.FindString(bare); hit != "" {
				t.Errorf("%s has %s: %s", file, what, hit)
			}
		}
		if len(body) > 24<<10 {
			t.Errorf("%s has %d bytes", file, len(body))
		}
	}
	for _, file := range parts(t) {
		if !seen[file] {
			t.Errorf("nothing refers to %s", file)
		}
	}
}

// TestNothingElse: only the page's own files are served.
func TestNothingElse(t *testing.T) {
	for _, file := range []string{"nonesuch.js", "../console.go", "..", ".", "page", "../page/main.js", "/etc/passwd", "main.js/", "\x00"} {
		if r := page(t, file); r.StatusCode != http.StatusNotFound {
			t.Errorf("%q: %d", file, r.StatusCode)
		}
	}
}
