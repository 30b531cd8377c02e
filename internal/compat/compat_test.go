package compat

import "testing"

// TestMissing finds what was renamed, dropped, cut off or made another, and lets be added.
func TestMissing(t *testing.T) {
	was := map[string]any{"a": 1.0, "b": []any{map[string]any{"c": "d"}}}
	for name, c := range map[string]struct {
		is   any
		lost bool
	}{
		"the same":  {was, false},
		"more":      {map[string]any{"a": 1.0, "b": []any{map[string]any{"c": "d", "e": 1.0}}, "f": nil}, false},
		"renamed":   {map[string]any{"A": 1.0, "b": []any{map[string]any{"c": "d"}}}, true},
		"another":   {map[string]any{"a": 2.0, "b": []any{map[string]any{"c": "d"}}}, true},
		"deep":      {map[string]any{"a": 1.0, "b": []any{map[string]any{}}}, true},
		"cut off":   {map[string]any{"a": 1.0, "b": []any{}}, true},
		"no object": {[]any{}, true},
		"no list":   {map[string]any{"a": 1.0, "b": "x"}, true},
	} {
		if got := missing("", was, c.is); (got != "") != c.lost {
			t.Errorf("%s: %q", name, got)
		}
	}
}
