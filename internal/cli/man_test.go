package cli

import "testing"

// TestRoff: no text becomes a request or an escape.
func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"a-b":           `a\-b`,
		".SH x\n'y\n.z": "\\&.SH x\n\\&'y\n\\&.z",
		`C:\n`:          `C:\en`,
		"plain":         "plain",
	} {
		if got := roff(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
